"""Hierarchical encoder with shifted windows. Letters: b batch, n tokens, h w grid, d width."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.errors import InputError, unknown
from mim_jax.layers import basic, shifted_windows
from mim_jax.layers.stack import REMAT, check_layer
from mim_jax.ops import gather


class Swin(nn.Module):
  """Swin transformer: Tokens [b n d] on a 2-D grid -> Latents [b n/4^(s-1) d 2^(s-1)], s stages.

  depths, heads: blocks and attention heads of each stage. Tokens that are not visible are replaced
  by a learned one, after the norm of the patches (SimMIM); all are kept. A grid that windows do not
  divide is padded; every stage but the last halves it. With `layers` (1 = after the first block,
  counted through all stages) a list of Latents on the grids they have there, un-normed but for the
  last. Padding is 0 where cells are merged, and one is real that holds a real token. There is no
  class token. `remat` as in `Stack`.
  Source: arXiv 2103.14030, and 2111.09886 for the mask token. InputError where the tokens lie on no
  2-D grid, or it can't be halved often enough.
  """

  depths: tuple[int, ...]
  heads: tuple[int, ...]
  window: int = 7
  mlp_ratio: float = 4.0
  drop_path: float = 0.0
  attention: Literal["xla", "cudnn"] | None = None
  remat: str = "none"
  dtype: str = "float32"

  @property
  def layer_count(self) -> int:
    """Counts the layers."""
    return sum(self.depths)

  @nn.compact
  def __call__(self, tokens: core.Tokens, mask: core.Mask | None = None, layers=None):
    self._check(tokens)
    total = sum(self.depths)
    wanted = [check_layer(i, total) for i in (layers or (total,))]
    x, valid = self._hide(tokens, mask), tokens.valid
    valid = None if valid is None else valid.reshape(-1, *tokens.grid)
    rates = jnp.linspace(0.0, self.drop_path, total) if self.drop_path else None
    outputs: list = []
    for stage, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True)):
      if stage:
        x = shifted_windows.blank(x, valid)
        x = shifted_windows.Merge(self.dtype, name=f"merge_{stage}")(x)
        valid = shifted_windows.merged(valid)
      for i in range(depth):
        block = self._block(heads, bool(i % 2), f"stage_{stage}_block_{i:02d}")
        x = block(x, None if rates is None else rates[len(outputs)], valid)
        outputs.append((x, valid))
    outputs[-1] = basic.norm(self.dtype, "norm", epsilon=shifted_windows.EPSILON)(x), valid
    found = [_latents(*outputs[i - 1]) for i in wanted]
    return found[0] if layers is None else found

  def _check(self, tokens):
    if self.remat not in REMAT:
      raise unknown("remat", self.remat, REMAT)
    if len(self.depths) != len(self.heads):
      raise InputError(
        f"encoder: depths {self.depths} and heads {self.heads} must have one number for each stage."
      )
    if len(tokens.grid) != 2:
      raise InputError(f"swin: all tokens must lie on a 2-D grid, not on {tokens.grid}.")

  def _hide(self, tokens, mask):
    """Norms tokens and replaces hidden ones by a learned one: a grid [b h w d]."""
    x = basic.norm(self.dtype, "patch_norm", epsilon=shifted_windows.EPSILON)(tokens.values)
    if mask is not None:
      stand_in = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, x.shape[-1]))
      seen = gather.member(mask.visible, x.shape[1], mask.valid)
      x = jnp.where(seen[..., None], x, stand_in.astype(x.dtype))
    return x.astype(self.dtype).reshape(x.shape[0], *tokens.grid, -1)

  def _block(self, heads: int, shifted: bool, name: str) -> nn.Module:
    policy = REMAT[self.remat]
    kind = (
      shifted_windows.Block if policy is None else nn.remat(shifted_windows.Block, policy=policy)
    )
    return kind(heads, self.window, shifted, self.mlp_ratio, self.attention, self.dtype, name=name)


def _latents(x, valid) -> core.Latents:
  b, h, w, d = x.shape
  valid = None if valid is None else valid.reshape(b, h * w)
  return core.Latents(x.reshape(b, h * w, d), jnp.zeros((b, 0, d), x.dtype), valid)
