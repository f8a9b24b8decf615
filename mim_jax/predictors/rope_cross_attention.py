"""Cross-attention decoder with RoPE. Letters: b, g groups, m masked, v, k, d."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import rope_blocks
from mim_jax.ops import rope


class CrossAttentionDecoder(nn.Module):
  """CAPI's predictor: Latents -> normed features [b g m d] at the masked tokens, width d kept.

  Pure cross-attention: queries are one learned token at different places, keys and values are the
  encoder's visible latents and registers, the same for all blocks. No query sees another, so each
  prediction is the same whatever else is asked. `stack`: layers.RopeStack.
  Source: CAPI, section 3.2.
  """

  stack: nn.Module

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m d"]:
    b, g, m = mask.masked.shape
    memory = jnp.concatenate([latents.prefix, latents.values], 1)
    d, k = memory.shape[-1], latents.prefix.shape[1]
    token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, d))
    asked = jnp.broadcast_to(token, (b, g * m, d)).astype(memory.dtype)
    coordinates = rope.unit_coordinates(mask.positions, mask.grid, mask.present)
    queries = rope_blocks.Places(core.take(coordinates, mask.masked).reshape(b, g * m, -1))
    keys = rope_blocks.Places(core.take(coordinates, mask.visible), mask.valid).with_registers(k)
    by, to = (self.stack.angles(places, d) for places in (queries, keys))
    turns = rope_blocks.Turns(by, to, keys.valid, coordinates.shape[-1])
    x, _ = self.stack(asked, turns, memory)
    return rope_blocks.norm(self.stack.dtype, "norm", use_scale=False)(x).reshape(b, g, m, d)
