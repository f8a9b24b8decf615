"""Predictions made one by one, with rotary positions. Letters: b, g groups, m masked, v, k, d."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import rope_blocks as turned
from mim_jax.ops import rope


class CrossAttentionDecoder(nn.Module):
  """CAPI's predictor: Latents -> normed features [b g m d] at the masked tokens, width d kept.

  Pure cross-attention: queries are one learned token at different places, keys and values are the
  encoder's visible latents and registers, the same for all blocks. No query sees another, so each
  prediction is the same whatever else is asked. Settings as in encoders.RopeViT.
  Source: CAPI, section 3.2.
  """

  depth: int
  heads: int
  mlp_ratio: float = 4.0
  drop_path: float = 0.0
  pairing: str = "axial"
  cycles: tuple[float, float] = (7e-4, 7.0)
  attention: str | None = None
  scan: bool = False
  remat: str = "none"
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m d"]:
    b, g, m = mask.masked.shape
    memory = jnp.concatenate([latents.prefix, latents.values], 1)
    d, k = memory.shape[-1], latents.prefix.shape[1]
    token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, d))
    asked = jnp.broadcast_to(token, (b, g * m, d)).astype(memory.dtype)
    coordinates = rope.unit_coordinates(mask.positions, mask.grid)
    queries = turned.Places(core.take(coordinates, mask.masked).reshape(b, g * m, -1))
    keys = turned.Places(core.take(coordinates, mask.visible), mask.valid).with_registers(k)
    to, by = (places.angles(d, self.heads, self.cycles) for places in (keys, queries))
    turns = turned.Turns(queries=by, keys=to, valid=keys.valid)
    names = "depth heads mlp_ratio drop_path pairing attention scan remat dtype"
    settings = {name: getattr(self, name) for name in names.split()}
    x, _ = turned.Stack(**settings, name="stack")(asked, turns, memory)
    return turned.norm(self.dtype, "norm", use_scale=False)(x).reshape(b, g, m, d)
