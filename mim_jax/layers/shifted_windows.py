"""Shifted windows and patch merging. Letters: b, h w grid, u windows, t tokens of one, d width.

Liu et al., Swin Transformer (arXiv 2103.14030), section 3. LayerNorms have epsilon 1e-5; kernels
and tables of relative positions start normal(0.02).
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Shaped

from mim_jax.errors import InputError
from mim_jax.layers import basic
from mim_jax.layers.mlp import Mlp
from mim_jax.layers.self_attention import Attention
from mim_jax.layers.stack import Residual
from mim_jax.ops import relative_positions

EPSILON = 1e-5
Pair = tuple[int, int]


class Block(nn.Module):
  """Pre-norm block whose attention stays within windows, [b h w d] -> [b h w d].

  window: side in tokens; an axis of the grid no longer than that is one window and never shifted.
  shifted: move the windows by half their side, as every second block does. What the roll brings
  together from opposite borders, and what pads the grid to whole windows, never attends to each
  other. Nothing attends to what is not `valid`.
  """

  heads: int
  window: int
  shifted: bool
  mlp_ratio: float = 4.0
  attention: Literal["xla", "cudnn"] | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b h w d"], drop=None, valid=None):
    """`valid` [b h w] says which tokens are real; None where all are."""
    grid = (x.shape[1], x.shape[2])
    window, shift = layout(grid, self.window, self.shifted)
    y = basic.norm(self.dtype, "norm1", epsilon=EPSILON)(x)
    if valid is not None:
      valid = cut(valid[..., None], window, shift)[:, None, :, 0]
    y = self._attend(cut(y, window, shift), x.shape[0], (grid, window, shift), valid)
    x = Residual(name="residual1")(x, joined(y, grid, window, shift), drop)
    y = basic.norm(self.dtype, "norm2", epsilon=EPSILON)(x)
    y = Mlp(self.mlp_ratio, self.dtype, "normal", name="mlp")(y)
    return Residual(name="residual2")(x, y, drop)

  def _attend(self, y: Float[Array, "bu t d"], b: int, where, valid) -> Float[Array, "bu t d"]:
    """Attends within each window, with its relative positions; `valid` keys [bu 1 t]."""
    grid, window, shift = where
    rows = relative_positions.table_rows(window)
    table = self.param("relative_table", nn.initializers.normal(0.02), (rows, self.heads))
    bias = jnp.moveaxis(table[relative_positions.table_index(window)], -1, 0)
    keep = same_region(grid, window, shift)
    if keep is not None:
      keep = jnp.broadcast_to(jnp.asarray(keep)[None], (b, *keep.shape)).reshape(
        -1, *keep.shape[1:]
      )
    if valid is not None:
      keep = jnp.broadcast_to(valid, (*y.shape[:2], y.shape[1])) if keep is None else keep & valid
    attend = Attention(
      self.heads,
      implementation=self.attention,
      dtype=self.dtype,
      kernel_init="normal",
      name="attention",
    )
    return attend(y, keep, bias)


class Merge(nn.Module):
  """Patch merging: 2 x 2 neighbours become one token, [b h w d] -> [b h/2 w/2 2d].

  Their order is by columns, as in the reference. InputError where a side is odd.
  """

  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b i j e"]:
    b, h, w, d = x.shape
    if h % 2 or w % 2:
      raise InputError(
        f"swin: a grid of {h} x {w} can't be halved. The image's sides must be multiples of the "
        "patch times 2 for every stage but the first; change the image, `patch`, or the stages."
      )
    x = x.reshape(b, h // 2, 2, w // 2, 2, d).transpose(0, 1, 3, 4, 2, 5)
    x = basic.norm(self.dtype, "norm", epsilon=EPSILON)(x.reshape(b, h // 2, w // 2, 4 * d))
    start = nn.initializers.normal(0.02)
    return basic.dense(2 * d, self.dtype, "reduce", use_bias=False, kernel_init=start)(x)


def blank(x: Float[Array, "b h w d"], valid: Bool[Array, "b h w"] | None) -> Array:
  """Puts zeros where nothing is real, so that merging cells takes in nothing of padding."""
  return x if valid is None else jnp.where(valid[..., None], x, jnp.zeros_like(x))


def merged(valid: Bool[Array, "b h w"] | None) -> Bool[Array, "b i j"] | None:
  """Says which of the cells that `Merge` makes hold a real token."""
  if valid is None:
    return None
  b, h, w = valid.shape
  return jnp.any(valid.reshape(b, h // 2, 2, w // 2, 2), (2, 4))


def layout(grid: Pair, window: int, shifted: bool) -> tuple[Pair, Pair]:
  """Computes (sides of a window, shift) along both axes of the grid."""
  sides = min(window, grid[0]), min(window, grid[1])
  shift = [window // 2 if shifted and side > window else 0 for side in grid]
  return sides, (shift[0], shift[1])


def padded(grid: Pair, window: Pair) -> Pair:
  """Rounds the grid's sides up to whole windows."""
  return -(-grid[0] // window[0]) * window[0], -(-grid[1] // window[1]) * window[1]


def cut(x: Shaped[Array, "b h w d"], window: Pair, shift: Pair) -> Shaped[Array, "bu t d"]:
  """Cuts the padded and shifted grid into windows, image after image and row by row."""
  b, *grid, d = x.shape
  h, w = padded((grid[0], grid[1]), window)
  if (h, w) != tuple(grid):
    x = jnp.pad(x, ((0, 0), (0, h - grid[0]), (0, w - grid[1]), (0, 0)))
  x = jnp.roll(x, (-shift[0], -shift[1]), (1, 2)) if any(shift) else x
  x = x.reshape(b, h // window[0], window[0], w // window[1], window[1], d)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window[0] * window[1], d)


def joined(
  x: Float[Array, "bu t d"], grid: Pair, window: Pair, shift: Pair
) -> Float[Array, "b h w d"]:
  """Undoes `cut`."""
  h, w = padded(grid, window)
  x = x.reshape(-1, h // window[0], w // window[1], *window, x.shape[-1])
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, h, w, x.shape[-1])
  x = jnp.roll(x, shift, (1, 2)) if any(shift) else x
  return x[:, : grid[0], : grid[1]]


def same_region(grid: Pair, window: Pair, shift: Pair) -> np.ndarray | None:
  """Tells which tokens of a window are neighbours in the image, bool [u t t]; None for all.

  A region is what the roll did not tear from its place, or what it did, along each axis; and
  padding is a region of its own.
  """
  h, w = padded(grid, window)
  row, column = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
  padding = (row >= grid[0]) | (column >= grid[1])
  label = (row < shift[0]) * 1 + (column < shift[1]) * 2 + padding * 4
  label = np.roll(label, (-shift[0], -shift[1]), (0, 1))
  label = label.reshape(h // window[0], window[0], w // window[1], window[1])
  label = label.transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
  same = label[:, :, None] == label[:, None, :]
  return None if same.all() else same
