"""A ViT trained with labels on all tokens, made of our parts: what transformers' classifier is
compared with."""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mim_jax import encoders, heads, layers, tokenizers
from mim_jax.configs import recipe


class Classifier(nn.Module):
  """Logits [b 1000] of normalised images [b h w c], by the class token."""

  width: int
  depth: int
  heads: int
  patch: int
  dtype: str

  @nn.compact
  def __call__(self, images):
    tokens = tokenizers.ImagePatches(patch=self.patch, width=self.width, dtype=self.dtype)(images)
    stack = layers.Stack(self.depth, self.heads, dtype=self.dtype, parent=None)  # the encoder's
    latents = encoders.ViT(stack=stack)(tokens)
    return heads.Classifier(1000)(latents)


class Step:
  """A training step on a batch of noise, compiled and warm; called as turns.Step."""

  def __init__(self, size: str, batch: int, image: int, patch: int, dtype: str):
    model = Classifier(**recipe.SIZES[size], patch=patch, dtype=dtype)
    optimizer = optax.adamw(1e-4, b2=0.95, weight_decay=0.05)
    self.images = jax.random.normal(jax.random.key(0), (batch, image, image, 3))

    def update(params, state, images):
      labels = jnp.arange(len(images)) % 1000

      def loss(params):
        logits = model.apply(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

      value, gradient = jax.value_and_grad(loss)(params)
      change, state = optimizer.update(gradient, state, params)
      return optax.apply_updates(params, change), state, value

    self.params = jax.jit(model.init)(jax.random.key(0), self.images[:1])
    self.state = optimizer.init(self.params)
    self.update = jax.jit(update, donate_argnums=(0, 1))
    self(2)

  def __call__(self, steps: int = 1) -> float:
    """Seconds a step, of `steps` one after the other."""
    began = time.perf_counter()
    for _ in range(steps):
      self.params, self.state, loss = self.update(self.params, self.state, self.images)
    loss.block_until_ready()
    return (time.perf_counter() - began) / steps
