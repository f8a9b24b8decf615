"""One visible block on a torus."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.masks import one_block

MANY, SIDE = 4000, 16
inverse_block = jax.jit(masks.inverse_block, static_argnames=("ratio", "predicted"))


def tokens_of(b, *grid):
  n = int(np.prod(grid))
  return core.Tokens(jnp.zeros((b, n, 2)), jnp.zeros((b, n, 2)), grid=grid)


def draw(b=MANY, grid=(SIDE, SIDE), seed=0, **settings):
  settings = dict(ratio=0.65, predicted=0.05) | settings
  return masks.inverse_block(jax.random.key(seed), tokens_of(b, *grid), **settings)


@pytest.fixture(scope="module")
def published():
  return draw()


def visible_maps(mask, grid=(SIDE, SIDE)):
  maps = np.zeros((len(mask.visible), int(np.prod(grid))), bool)
  np.put_along_axis(maps, np.asarray(mask.visible), True, axis=1)
  return maps.reshape(-1, *grid)


def block(cells):
  """(height, width) of the visible cells rolled so that they do not wrap."""
  sides = []
  for axis in (0, 1):
    used = cells.any(1 - axis)
    # the block starts where a used line follows an unused one
    start = np.flatnonzero(used & ~np.roll(used, 1))
    assert len(start) == 1
    cells = np.roll(cells, -start[0], axis)
    sides.append(int(used.sum()))
  height, width = sides
  inside = cells[:height, :width].ravel()
  assert inside[: cells.sum()].all()  # the first cells row by row
  assert not cells[height:].any()
  assert not cells[:, width:].any()
  return height, width


def test_the_published_counts(published):
  assert published.visible.shape == (MANY, 90)
  assert published.masked.shape == (MANY, 1, 8)
  assert one_block.counts(256, 0.65, 0.2) == (90, 33)
  assert (np.asarray(published.weight) == 1).all()


def test_what_is_visible_is_one_block_of_the_published_shapes(published):
  shapes = [block(cells) for cells in visible_maps(published)[:500]]
  assert all(h * w >= 90 for h, w in shapes)
  assert {w for _, w in shapes} == set(range(7, 15))
  # A block of 11 x 9 or 14 x 7 loses its whole last row when it is cut to 90 cells.
  assert {(-(-90 // w), w) for w in range(7, 15)} == set(shapes)
  # The aspect a is log-uniform between 1/2 and 2, and w = ceil(sqrt(90 / a)).
  at_most = {w: np.clip(0.5 - np.log(90 / w**2) / np.log(4), 0, 1) for w in range(6, 15)}
  for w in range(7, 15):
    chance, found = at_most[w] - at_most[w - 1], np.mean([w == width for _, width in shapes])
    assert abs(found - chance) < 5 * (chance * (1 - chance) / 500) ** 0.5


def test_rolled_every_token_is_as_likely(published):
  often = visible_maps(published).mean(0)
  chance = 90 / 256
  assert np.abs(often - chance).max() < 5 * (chance * (1 - chance) / MANY) ** 0.5


def test_unrolled_blocks_do_not_wrap_and_favour_the_middle():
  maps = visible_maps(draw(600, roll=False))
  for cells in maps[:200]:
    for used in (cells.any(1), cells.any(0)):
      at = np.flatnonzero(used)
      assert at[-1] - at[0] + 1 == len(at)
  assert maps.mean(0)[7, 7] > 3 * maps.mean(0)[0, 0]


def test_targets_are_masked_distinct_and_uniform(published):
  target = np.asarray(published.masked)[:, 0]
  seen = visible_maps(published).reshape(MANY, -1)
  assert not np.take_along_axis(seen, target, axis=1).any()
  assert all(len(set(row)) == 8 for row in target)
  often = np.bincount(target.ravel(), minlength=256) / MANY
  assert np.abs(often - 8 / 256).max() < 5 * (8 / 256 / MANY) ** 0.5


def test_all_of_the_masked_can_be_predicted():
  mask = draw(3, (4, 4), predicted=1.0)
  both = np.concatenate([mask.visible, mask.masked[:, 0]], 1)
  np.testing.assert_array_equal(np.sort(both, 1), np.tile(np.arange(16), (3, 1)))
  assert draw(2, (4, 4), predicted=0.05).masked.shape == (2, 1, 1)  # at least one


@pytest.mark.parametrize("grid", [(6, 3), (3, 7), (5, 5)])
def test_any_grid_keeps_the_exact_count(grid):
  mask = draw(200, grid, ratio=0.5)
  n = grid[0] * grid[1]
  assert (visible_maps(mask, grid).reshape(200, -1).sum(1) == n - n // 2).all()


def test_what_cannot_be_drawn_is_refused():
  with pytest.raises(InputError, match="hides 0 of 16"):
    draw(1, (4, 4), ratio=0.01)
  with pytest.raises(InputError, match="above 0 and at most 1"):
    draw(1, (4, 4), predicted=0.0)
  with pytest.raises(InputError, match="fits a grid of 1 x 16"):
    draw(1, (1, 16))
  with pytest.raises(InputError, match="2-D grid"):
    draw(1, (2, 2, 4))


def test_a_padded_image_shows_one_block_of_what_is_real():
  real = np.zeros((200, SIDE, SIDE), bool)
  real[:, 3:15, 2:14] = True
  tokens = dataclasses.replace(tokens_of(200, SIDE, SIDE), valid=jnp.asarray(real.reshape(200, -1)))
  mask = inverse_block(jax.random.key(0), tokens, ratio=0.65, predicted=0.5)
  maps = np.zeros((200, SIDE**2), bool)
  np.put_along_axis(maps, np.asarray(mask.visible), True, axis=1)
  maps = maps.reshape(real.shape)
  assert not (maps & ~real).any()
  assert (maps.sum((1, 2)) == 144 - 93).all()
  assert (mask.weight.sum((1, 2)) == 46).all()
  assert len({block(cells) for cells in maps[:, 3:15, 2:14]}) > 1


def test_with_holes_the_block_grows_until_it_holds_its_tokens():
  real = np.random.default_rng(0).uniform(size=(50, SIDE**2)) < 0.5
  tokens = dataclasses.replace(tokens_of(50, SIDE, SIDE), valid=jnp.asarray(real))
  mask = inverse_block(jax.random.key(0), tokens, ratio=0.65)
  np.testing.assert_array_equal(mask.valid.sum(1), [k - int(0.65 * k) for k in real.sum(1)])
  columns = np.asarray(mask.visible) % SIDE
  used = [len(set(row[listed])) for row, listed in zip(columns, mask.valid, strict=True)]
  assert max(used) < SIDE  # still a block, and not all over the grid
