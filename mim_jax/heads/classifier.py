"""The head of a network that was trained on labels, or beside texts. Letters: b n d, k scores."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.errors import unknown
from mim_jax.layers import basic

POOLS = ("class", "mean", "both")


class Classifier(nn.Module):
  """Latents of a whole image -> scores of `count` classes [b k], or CLIP's embedding.

  pool: what is scored: the "class" token, the "mean" of patches, or "both" beside each other
  (DINOv2). norm: of the pooled vector, first. count 0: the pooled vector alone [b d]. InputError
  for another pool.
  """

  count: int
  pool: str = "class"
  norm: bool = False
  bias: bool = True
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, latents: core.Latents) -> Float[Array, "b k"]:
    if self.pool not in POOLS:
      raise unknown("head.pool", self.pool, POOLS)
    x = latents.values.mean(1) if self.pool == "mean" else latents.prefix[:, 0]
    if self.pool == "both":
      x = jnp.concatenate([x, latents.values.mean(1)], -1)
    x = x.astype(jnp.float32)
    if self.norm:
      x = basic.norm("float32", "norm", epsilon=self.epsilon)(x)
    return nn.Dense(self.count, self.bias, name="classifier")(x) if self.count else x
