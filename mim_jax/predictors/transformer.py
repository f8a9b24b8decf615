"""A small transformer over visible latents and mask tokens. Letters: b, g groups, k prefix, v, m, d, e."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import transformer
from mim_jax.ops import positions


class Transformer(nn.Module):
  """MAE's decoder: Latents -> predictions [b g m e] at the masked tokens.

  Tokens go in as [prefix, visible, masked]: with positions added, attention does not care for the
  order, so nothing is put back in place. Each group of targets is predicted on its own.
  """

  width: int
  depth: int
  heads: int
  target_width: int
  mlp_ratio: float = 4.0
  attention: str | None = None
  scan: bool = False
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    b, g, m = mask.masked.shape
    k, v = latents.prefix.shape[1], latents.values.shape[1]
    embed = transformer.dense(self.width, self.dtype, "embed")
    seen = embed(jnp.concatenate([latents.prefix, latents.values], 1))
    where = positions.sincos(mask.positions, self.width).astype(seen.dtype)
    seen = jnp.concatenate([seen[:, :k], seen[:, k:] + core.take(where, mask.visible)], 1)
    token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, 1, self.width))
    asked = token.astype(seen.dtype) + core.take(where, mask.masked)
    seen = jnp.broadcast_to(seen[:, None], (b, g, k + v, self.width))
    x = jnp.concatenate([seen, asked], 2).reshape(b * g, k + v + m, self.width)
    x = transformer.Stack(**self._stack(), name="stack")(x, self._valid(mask, k))
    x = transformer.norm(self.dtype, "norm")(x[:, k + v :])
    return transformer.dense(self.target_width, self.dtype, "head")(x).reshape(b, g, m, -1)

  def _valid(self, mask, k):
    """Which entries are real, [b g, k+v+m]; None when the draw has no padding."""
    if mask.valid is None:
      return None
    b, g, _ = mask.masked.shape
    real = jnp.concatenate([jnp.ones((b, k), bool), mask.valid], 1)
    real = jnp.broadcast_to(real[:, None], (b, g, real.shape[1]))
    return jnp.concatenate([real, mask.weight > 0], 2).reshape(b * g, -1)

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio attention scan unroll remat dtype"
    return {name: getattr(self, name) for name in names.split()}
