"""Relative positions on a grid. Letters: n cells, k prefix tokens."""

import numpy as np


def table_rows(grid: tuple[int, int], prefix: int = 0) -> int:
  """Rows of a table with one for every offset between two cells, and three more for a prefix."""
  return (2 * grid[0] - 1) * (2 * grid[1] - 1) + (3 if prefix else 0)


def table_index(grid: tuple[int, int], prefix: int = 0) -> np.ndarray:
  """Which row belongs to a query (rows) and a key (columns): int32 [k+n k+n], cells row by row.

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
