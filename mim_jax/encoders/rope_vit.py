"""Vision transformer with rotary positions. Letters: b batch, n tokens, v visible, k registers."""

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.layers import rope_blocks as turned
from mim_jax.layers import transformer
from mim_jax.ops import rope


class RopeViT(nn.Module):
  """CAPI's ViT: Tokens [b n d] -> Latents [b v d] with the registers [b k d] as prefix.

  Tokens that are not visible are dropped. No position is added: coordinates in [0, 1] turn queries
  and keys. `registers` are learned tokens (a multiple of 4) that stand around the box of what is
  visible; there is no class token. `cycles` are the turns of the slowest and the fastest channel
  over the unit square, `pairing` is "axial" or "coupled" (ops.rotary.rotate). With `layers` (1 =
  after the first block) a list of Latents; the last one is normed, without scale.
  Source: CAPI, section 3.3; details from its reference.
  """

  depth: int
  heads: int
  mlp_ratio: float = 4.0
  registers: int = 16
  drop_path: float = 0.0
  pairing: str = "axial"
  cycles: tuple[float, float] = (7e-4, 7.0)
  attention: str | None = None
  scan: bool = False
  remat: str = "none"
  dtype: str = "float32"

  @property
  def layer_count(self) -> int:
    """How many layers there are to ask for."""
    return self.depth

  @nn.compact
  def __call__(self, tokens: core.Tokens, mask: core.Mask | None = None, layers=None):
    x, valid = tokens.values, tokens.valid
    coordinates = rope.unit_coordinates(tokens.positions, tokens.grid)
    if mask is not None:
      x, valid = core.take(x, mask.visible), mask.valid
      coordinates = core.take(coordinates, mask.visible)
    (b, _, d), k = x.shape, self.registers
    learned = self.param("register_token", nn.initializers.normal(0.02), (1, k, d))
    x = jnp.concatenate([jnp.broadcast_to(learned, (b, k, d)).astype(x.dtype), x], 1)
    places = turned.Places(coordinates, valid).with_registers(k)
    angles = places.angles(d, self.heads, self.cycles)
    stack = turned.Stack(**self._stack(), name="stack")
    x, outputs = stack(x, turned.Turns(angles, angles, places.valid), keep=layers is not None)
    final = turned.norm(self.dtype, "norm", use_scale=False)
    if layers is None:
      return self._split(final(x))
    wanted = [transformer.check_layer(i, self.depth) for i in layers]
    return [self._split(final(x) if i == self.depth else outputs[i - 1]) for i in wanted]

  def _split(self, x) -> core.Latents:
    return core.Latents(x[:, self.registers :], x[:, : self.registers])

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio drop_path pairing attention scan remat dtype"
    return {name: getattr(self, name) for name in names.split()}
