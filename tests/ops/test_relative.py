"""Relative positions."""

import functools

import numpy as np
import pytest

from mim_jax.errors import InputError
from mim_jax.ops import relative_positions


def test_the_published_table_of_beit():
  """732 rows at 14 x 14 patches with a class token; its last three are the class token's."""
  index = relative_positions.table_index((14, 14), 1)
  assert relative_positions.table_rows((14, 14), 1) == 732
  assert index.shape == (197, 197)
  assert (index[0, 1:] == 729).all()
  assert (index[1:, 0] == 730).all()
  assert index[0, 0] == 731
  y, x, other_y, other_x = 3, 5, 9, 2
  row = (y - other_y + 13) * 27 + (x - other_x + 13)
  assert index[1 + y * 14 + x, 1 + other_y * 14 + other_x] == row


def test_equal_offsets_share_a_row_and_others_do_not():
  h, w = 3, 4
  index = relative_positions.table_index((h, w))
  cells = [(y, x) for y in range(h) for x in range(w)]
  rows = {}
  for i, (y, x) in enumerate(cells):
    for j, (v, u) in enumerate(cells):
      rows.setdefault((y - v, x - u), set()).add(int(index[i, j]))
  assert all(len(found) == 1 for found in rows.values())
  assert len(set.union(*rows.values())) == len(rows) == relative_positions.table_rows((h, w))


def test_every_row_is_in_use():
  index = relative_positions.table_index((2, 5), 2)
  assert set(np.unique(index)) == set(range(relative_positions.table_rows((2, 5), 2)))


@pytest.mark.parametrize("spacing", relative_positions.SPACINGS)
def test_a_table_of_another_grid(spacing):
  """A constant stays one, the prefix stays what it is, and symmetric offsets stay symmetric."""
  grow = functools.partial(relative_positions.resized, old=(3, 4), new=(5, 6), spacing=spacing)
  rows = relative_positions.table_rows((3, 4), 1)
  constant = grow(np.full((rows, 2), 3.0, np.float32))
  np.testing.assert_allclose(
    constant, np.full((relative_positions.table_rows((5, 6), 1), 2), 3.0), rtol=1e-5
  )
  table = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
  found = grow(table)
  np.testing.assert_array_equal(found[-3:], table[-3:])
  turned = np.concatenate([table[:-3][::-1], table[-3:]])
  np.testing.assert_allclose(grow(turned)[:-3], found[:-3][::-1], atol=1e-4)
  np.testing.assert_array_equal(
    relative_positions.resized(table, (3, 4), (3, 4), spacing=spacing), table
  )


def test_near_offsets_of_a_larger_grid_are_what_they_were():
  """Neighbours keep their bias, which an even spacing would stretch away."""
  table = (
    np.random.default_rng(0)
    .normal(size=(relative_positions.table_rows((7, 7)), 1))
    .astype(np.float32)
  )
  old, new = (
    table.reshape(13, 13),
    relative_positions.resized(table, (7, 7), (12, 12)).reshape(23, 23),
  )
  np.testing.assert_allclose(new[10:13, 10:13], old[5:8, 5:8], atol=0.02)


def test_tables_that_cannot_be_resized():
  with pytest.raises(InputError, match=r"spacing: 'evn' is unknown; did you mean 'even'"):
    relative_positions.resized(np.zeros((25, 1)), (3, 3), (4, 4), spacing="evn")
  with pytest.raises(
    InputError, match=r"24 rows are no table of a grid of 3 x 3, which has 25, or"
  ):
    relative_positions.resized(np.zeros((24, 1)), (3, 3), (4, 4))
