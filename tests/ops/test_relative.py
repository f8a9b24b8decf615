"""Relative positions."""

import numpy as np

from mim_jax.ops import relative


def test_the_published_table_of_beit():
  """732 rows at 14 x 14 patches with a class token; its last three are the class token's."""
  index = relative.table_index((14, 14), 1)
  assert relative.table_rows((14, 14), 1) == 732
  assert index.shape == (197, 197)
  assert (index[0, 1:] == 729).all()
  assert (index[1:, 0] == 730).all()
  assert index[0, 0] == 731
  y, x, other_y, other_x = 3, 5, 9, 2
  row = (y - other_y + 13) * 27 + (x - other_x + 13)
  assert index[1 + y * 14 + x, 1 + other_y * 14 + other_x] == row


def test_equal_offsets_share_a_row_and_others_do_not():
  h, w = 3, 4
  index = relative.table_index((h, w))
  cells = [(y, x) for y in range(h) for x in range(w)]
  rows = {}
  for i, (y, x) in enumerate(cells):
    for j, (v, u) in enumerate(cells):
      rows.setdefault((y - v, x - u), set()).add(int(index[i, j]))
  assert all(len(found) == 1 for found in rows.values())
  assert len(set.union(*rows.values())) == len(rows) == relative.table_rows((h, w))


def test_every_row_is_in_use():
  index = relative.table_index((2, 5), 2)
  assert set(np.unique(index)) == set(range(relative.table_rows((2, 5), 2)))
