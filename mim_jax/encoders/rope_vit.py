"""Vision transformer with RoPE. Letters: b batch, n tokens, v visible, k registers."""

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.layers import rope_blocks
from mim_jax.layers.stack import check_layer
from mim_jax.ops import rope


class RopeViT(nn.Module):
  """CAPI's ViT: Tokens [b n d] -> Latents [b v d] with the registers [b k d] as prefix.

  Tokens that are not visible are dropped. No position is added: coordinates in [0, 1] turn queries
  and keys. There is no class token. Source: CAPI, section 3.3; details from its reference.

  Attributes:
    stack: layers.RopeStack.
    registers: learned tokens that stand around the box of what is visible, then a multiple of 4, or
      on a line evenly from first to last.
  """

  stack: nn.Module
  registers: int = 16

  @property
  def layer_count(self) -> int:
    """Counts the layers."""
    return self.stack.depth

  @nn.compact
  def __call__(self, tokens: core.Tokens, mask: core.Mask | None = None, layers=None):
    """Encodes tokens to Latents, normed without scale.

    With `layers` (1 = after the first block) to a list of them, un-normed but for the last layer.
    """
    x, valid = tokens.values, tokens.valid
    coordinates = rope.unit_coordinates(tokens.positions, tokens.grid, valid)
    if mask is not None:
      x, valid = core.take(x, mask.visible), mask.valid
      coordinates = core.take(coordinates, mask.visible)
    (b, _, d), k = x.shape, self.registers
    learned = self.param("register_token", nn.initializers.normal(0.02), (1, k, d))
    x = jnp.concatenate([jnp.broadcast_to(learned, (b, k, d)).astype(x.dtype), x], 1)
    places = rope_blocks.Places(coordinates, valid).with_registers(k)
    angles = self.stack.angles(places, d)
    turns = rope_blocks.Turns(angles, angles, places.valid, coordinates.shape[-1])
    x, outputs = self.stack(x, turns, keep=layers is not None)
    final = rope_blocks.norm(self.stack.dtype, "norm", use_scale=False)
    if layers is None:
      return self._split(final(x), valid)
    last = self.stack.depth
    wanted = [check_layer(i, last) for i in layers]
    return [self._split(final(x) if i == last else outputs[i - 1], valid) for i in wanted]

  def _split(self, x, valid) -> core.Latents:
    return core.Latents(x[:, self.registers :], x[:, : self.registers], valid)
