"""Relative positions on a grid. Letters: n cells, k prefix tokens."""

import jax.numpy as jnp
import numpy as np

from mim_jax.errors import InputError, unknown
from mim_jax.ops import resize

SPACINGS = ("geometric", "even")


def table_rows(grid: tuple[int, int], prefix: int = 0) -> int:
  """Counts rows of a table: one for every offset between two cells, three more for a prefix."""
  return (2 * grid[0] - 1) * (2 * grid[1] - 1) + (3 if prefix else 0)


def table_index(grid: tuple[int, int], prefix: int = 0) -> np.ndarray:
  """Indexes the table by query (rows) and key (columns): int32 [k+n k+n], cells row by row.

  The row of offset (query - key) is (dy + h - 1) (2w - 1) + (dx + w - 1), as in Swin and BEiT. The
  last three rows are for a prefix token asking a cell, a cell asking one, and one asking another.
  """
  h, w = grid
  cells = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), -1).reshape(-1, 2)
  offsets = cells[:, None] - cells[None]
  index = (offsets[..., 0] + h - 1) * (2 * w - 1) + offsets[..., 1] + w - 1
  index = np.pad(index, ((prefix, 0), (prefix, 0)))
  first = table_rows(grid)
  index[:prefix, prefix:], index[prefix:, :prefix], index[:prefix, :prefix] = range(
    first, first + 3
  )
  return index.astype(np.int32)


def resized(
  table: np.ndarray, old: tuple[int, int], new: tuple[int, int], *, spacing: str = "geometric"
) -> np.ndarray:
  """Resizes a table [rows heads] of the grid `old` to the grid `new`, float32.

  spacing: where offsets of the old grid lie among those of the new one. "geometric": 0, then steps
  that grow by one factor, so that near ones stay what they are, with cubic splines between (BEiT,
  microsoft/unilm: beit/run_class_finetuning.py). "even": PyTorch's bicubic (microsoft/Swin-
  Transformer: utils.py). Rows behind those of offsets belong to a prefix and stay. InputError for
  another spacing, or a table that is not of the old grid.
  """
  table, count = np.asarray(table, np.float32), table_rows(old)
  if spacing not in SPACINGS:
    raise unknown("relative positions: spacing", spacing, SPACINGS)
  if len(table) not in (count, count + 3):
    raise InputError(
      f"relative positions: {len(table)} rows are no table of a grid of {old[0]} x {old[1]}, which "
      f"has {count}, or {count + 3} with a class token. Give the grid that it is of."
    )
  if tuple(old) == tuple(new):
    return table
  square = table[:count].reshape(2 * old[0] - 1, 2 * old[1] - 1, -1)
  sides = 2 * new[0] - 1, 2 * new[1] - 1
  if spacing == "even":
    made = np.asarray(resize.bicubic(jnp.asarray(square)[None], sides)[0])
  else:
    made = _splined(square, old, new)
  return np.concatenate([made.reshape(sides[0] * sides[1], -1), table[count:]]).astype(np.float32)


def _splined(square: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
  """Resizes [2h-1 2w-1 heads] by cubic splines between offsets in geometric progression."""
  from scipy import interpolate  # late, as it is heavy

  knots = [_progression(a - 1, b - 1) for a, b in zip(old, new, strict=True)]
  wanted = [np.arange(1 - side, side) for side in new]
  degrees = dict(zip(("kx", "ky"), (min(3, len(k) - 1) for k in knots), strict=True))
  planes = [
    interpolate.RectBivariateSpline(*knots, plane, s=0, **degrees)(*wanted)
    for plane in np.moveaxis(square, -1, 0)
  ]
  return np.stack(planes, -1)


def _progression(count: int, reach: int) -> np.ndarray:
  """Makes -x_count .. 0 .. x_count in steps 1, q, q^2, ... up to `reach`, q in [1.01, 1.5]."""
  low, high = 1.01, 1.5
  for _ in range(40):
    q = (low + high) / 2
    low, high = (low, q) if np.sum(q ** np.arange(count)) > reach else (q, high)
  steps = np.cumsum(q ** np.arange(count))
  return np.concatenate([-steps[::-1], [0.0], steps])
