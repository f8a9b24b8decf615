import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.masks import tubes, uniform
from mim_jax.ops import positions


def grid_tokens(b, *grid):
  where = positions.grid_positions(grid)
  n = len(where)
  return core.Tokens(jnp.zeros((b, n, 2)), jnp.broadcast_to(where, (b, *where.shape)), grid=grid)


@settings(max_examples=8, deadline=None)
@given(
  st.integers(1, 3),
  st.integers(1, 4),
  st.integers(2, 4),
  st.integers(2, 5),
  st.integers(0, 2**31),
)
def test_a_tube_hides_the_same_cells_at_every_time(b, times, rows, columns, seed):
  tokens, cells = grid_tokens(b, times, rows, columns), rows * columns
  mask = masks.tube(jax.random.key(seed), tokens, ratio=0.6)
  for indices, count in ((mask.visible, cells - int(0.6 * cells)), (mask.masked, int(0.6 * cells))):
    by_time = np.asarray(indices).reshape(b, times, count)
    cell, time = by_time % cells, by_time // cells
    np.testing.assert_array_equal(time, np.broadcast_to(np.arange(times)[:, None], time.shape))
    np.testing.assert_array_equal(cell, np.broadcast_to(cell[:, :1], cell.shape))
  together = np.concatenate([mask.visible, mask.masked[:, 0]], 1)
  np.testing.assert_array_equal(np.sort(together), np.arange(times * cells) * np.ones((b, 1)))
  assert (np.diff(mask.visible) > 0).all()  # in raster order, as published
  assert mask.weight.min() == 1
  assert mask.grid == (times, rows, columns)


def test_the_published_counts():
  tokens = grid_tokens(1, 8, 14, 14)
  mask = masks.tube(jax.random.key(0), tokens, ratio=0.9)
  assert (mask.visible.shape, mask.masked.shape) == ((1, 160), (1, 1, 1408))
  assert (tubes.hidden_cells(196, 0.9), tubes.hidden_cells(196, 0.75)) == (176, 147)
  assert [uniform.shown_tokens(196, r) for r in (0.985, 0.95, 0.9, 0.75, 0.99)] == [2, 9, 19, 49, 1]


def test_every_cell_is_hidden_equally_often_and_clips_differ():
  mask = masks.tube(jax.random.key(3), grid_tokens(4000, 2, 3, 3), ratio=0.67)
  share = np.bincount(np.asarray(mask.masked).ravel() % 9, minlength=9) / (4000 * 2)
  np.testing.assert_allclose(share, 6 / 9, atol=0.03)
  sets = {tuple(row) for row in np.asarray(mask.visible).tolist()}
  assert len(sets) == 9 * 8 * 7 // 6


def test_few_shows_uniformly_drawn_tokens_but_at_least_one():
  tokens = grid_tokens(4000, 4, 4)
  mask = masks.random_keep_few(jax.random.key(0), tokens, ratio=0.985)
  assert (mask.visible.shape, mask.masked.shape) == ((4000, 1), (4000, 1, 15))
  share = np.bincount(np.asarray(mask.visible).ravel(), minlength=16) / 4000
  np.testing.assert_allclose(share, 1 / 16, atol=0.015)
  every = np.sort(np.concatenate([mask.visible, mask.masked[:, 0]], 1))
  np.testing.assert_array_equal(every, np.broadcast_to(np.arange(16), every.shape))


def test_masks_that_cannot_be_are_explained():
  with pytest.raises(InputError, match=r"\(time, row, column\).*VideoCubes"):
    masks.tube(jax.random.key(0), grid_tokens(1, 4, 4), ratio=0.5)
  with pytest.raises(InputError, match=r"0\.1 hides 0 of the 4 cells.*0\.25 to 0\.75"):
    masks.tube(jax.random.key(0), grid_tokens(1, 2, 2, 2), ratio=0.1)
  for ratio in (0.0, 1.0):
    with pytest.raises(InputError, match="of 16 tokens visible"):
      masks.random_keep_few(jax.random.key(0), grid_tokens(1, 4, 4), ratio=ratio)
