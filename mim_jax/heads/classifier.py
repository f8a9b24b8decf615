"""Classification heads of published networks. Letters: b n d, k classes."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.errors import unknown
from mim_jax.layers import basic

POOLS = ("class", "mean", "both")


class Classifier(nn.Module):
  """Classifier of Latents of a whole image: logits of `count` classes [b k], or CLIP's embedding.

  pool: the features: the "class" token, the "mean" of real patches, or "both" beside each other
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
    x = _mean(latents) if self.pool == "mean" else latents.prefix[:, 0]
    if self.pool == "both":
      x = jnp.concatenate([x, _mean(latents)], -1)
    x = x.astype(jnp.float32)
    if self.norm:
      x = basic.norm("float32", "norm", epsilon=self.epsilon)(x)
    return nn.Dense(self.count, self.bias, name="classifier")(x) if self.count else x


def _mean(latents: core.Latents) -> Float[Array, "b d"]:
  """Averages the real tokens; 0 where there are none."""
  if latents.valid is None:
    return latents.values.mean(1)
  # Chosen, not multiplied: what stands in padding may be no number.
  real = jnp.where(latents.valid[..., None], latents.values, 0.0)
  count = jnp.sum(latents.valid, 1, keepdims=True, dtype=jnp.float32)
  total = jnp.sum(real, 1, dtype=jnp.float32)
  return (total / jnp.maximum(count, 1.0)).astype(latents.values.dtype)
