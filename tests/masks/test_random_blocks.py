"""Masks in squares of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.masks import block
from mim_jax.ops import positions


def tokens_of(b=4, grid=(14, 14)):
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, grid[0] * grid[1], 2))
  return core.Tokens(jnp.zeros((*where.shape[:2], 4)), where, grid=grid)


@pytest.mark.parametrize(
  ("grid", "unit", "hidden"), [((14, 14), 2, 30 * 4), ((48, 48), 8, 22 * 64), ((4, 6), 2, 4 * 4)]
)
def test_published_counts_and_whole_squares(grid, unit, hidden):
  """SimMIM: 30 of 49 squares for ViT-B at 224 pixels, 22 of 36 for Swin-B at 192."""
  mask = masks.random_blocks(jax.random.key(0), tokens_of(grid=grid), ratio=0.6, unit=unit)
  assert mask.masked.shape == (4, 1, hidden)
  assert mask.visible.shape[1] == grid[0] * grid[1] - hidden
  flags = np.zeros((4, grid[0] * grid[1]), bool)
  np.put_along_axis(flags, np.asarray(mask.masked[:, 0]), True, axis=1)
  assert not np.take_along_axis(flags, np.asarray(mask.visible), 1).any()
  h, w = grid
  square = flags.reshape(4, h // unit, unit, w // unit, unit)
  assert (square.all((2, 4)) == square.any((2, 4))).all()
  assert len({row.tobytes() for row in flags}) > 1


def test_every_square_is_as_likely():
  mask = masks.random_blocks(jax.random.key(0), tokens_of(4000, (8, 8)), ratio=0.6, unit=2)
  share = np.bincount(np.asarray(mask.masked).ravel(), minlength=64) / 4000
  np.testing.assert_allclose(share, 10 / 16, atol=0.04)


@pytest.mark.parametrize(("squares", "ratio", "hidden"), [(100, 0.55, 55), (36, 0.6, 22)])
def test_counts_round_up_but_not_for_a_rounding_error(squares, ratio, hidden):
  assert block.hidden_squares(squares, ratio) == hidden


def test_what_cannot_be_is_refused():
  with pytest.raises(InputError, match=r"squares of 3 x 3 tokens do not tile the grid \(14, 14\)"):
    masks.random_blocks(jax.random.key(0), tokens_of(), ratio=0.6, unit=3)
  with pytest.raises(InputError, match="ratio 0.9 hides 4 of 4 squares"):
    masks.random_blocks(jax.random.key(0), tokens_of(grid=(4, 4)), ratio=0.9, unit=2)
