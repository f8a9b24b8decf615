"""Block-wise masks against the published algorithm, written down again as plain loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.masks import block
from mim_jax.ops import positions

GRID, COUNT, SMALLEST, ASPECT = (14, 14), 75, 16.0, 0.3
grown = jax.jit(block.grown, static_argnums=(1, 2, 3, 4, 5))


def tokens_of(b=8, grid=GRID):
  n = math.prod(grid)
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2))
  return core.Tokens(jnp.zeros((b, n, 4)), where, grid=grid)


def published(random, grid=GRID, count=COUNT):
  """One mask, and (height, width) of its first block."""
  h, w = grid
  hidden, first = np.zeros(grid, bool), None
  while hidden.sum() < count:
    budget = count - hidden.sum()
    for _ in range(10):
      area = SMALLEST + (budget - SMALLEST) * random.random()
      tall = math.exp(random.uniform(math.log(ASPECT), -math.log(ASPECT)))
      height, width = round(math.sqrt(area * tall)), round(math.sqrt(area / tall))
      if height >= h or width >= w:
        continue
      top, left = random.integers(0, h - height + 1), random.integers(0, w - width + 1)
      block = np.zeros(grid, bool)
      block[top : top + height, left : left + width] = True
      if 0 < (block & ~hidden).sum() <= budget:
        hidden |= block
        first = first or (height, width)
        break
    else:
      break
  return hidden, first


@pytest.fixture(scope="module")
def expected():
  random = np.random.default_rng(0)
  made, first = zip(*(published(random) for _ in range(4000)), strict=True)
  return np.stack(made), np.array(first)


@pytest.fixture(scope="module")
def found():
  return np.asarray(grown(jax.random.key(0), 4000, GRID, COUNT, (SMALLEST, 75.0), ASPECT))


def sides(made):
  """(heights, widths) of the boxes around what is hidden."""
  return (np.array([m.any(axis).sum() for m in made]) for axis in (1, 0))


def test_the_blocks_hide_as_many_tokens_as_published(expected, found):
  ours, theirs = found.sum((1, 2)), expected[0].sum((1, 2))
  assert ours.max() == COUNT
  np.testing.assert_allclose(ours.mean(), theirs.mean(), atol=0.1)
  np.testing.assert_allclose(ours.mean(), 74.47, atol=0.1)  # of 20,000 by the reference's rule
  np.testing.assert_allclose((ours == COUNT).mean(), 0.666, atol=0.03)
  np.testing.assert_allclose(np.percentile(ours, 1), np.percentile(theirs, 1), atol=1)


def test_every_place_is_hidden_as_often_as_published(expected, found):
  """Corners about 4 %, the middle 72 %; the deviation of a difference of two shares is 1.1 %."""
  ours, theirs = found.mean(0), expected[0].mean(0)
  np.testing.assert_allclose(ours, theirs, atol=0.045)
  np.testing.assert_allclose(ours[7, 7], 0.72, atol=0.03)
  np.testing.assert_allclose(ours[0, 0], 0.04, atol=0.015)


def test_sizes_and_aspects_of_blocks_are_the_published_ones(expected):
  _, theirs = expected
  area = jnp.full((4000,), float(COUNT))
  draw = jax.jit(block._rectangles, static_argnums=(2, 3, 4))
  drawn = draw(jax.random.key(1), area, SMALLEST, ASPECT, GRID)
  chosen, any_fits = block._first(drawn, jnp.zeros((4000, *GRID), bool), area)
  assert any_fits.all()
  height, width = sides(np.asarray(chosen))
  for ours, true in (
    (height, theirs[:, 0]),
    (width, theirs[:, 1]),
    (height * width, theirs.prod(1)),
    (np.log(height / width), np.log(theirs[:, 0] / theirs[:, 1])),
  ):
    spread = true.std()
    np.testing.assert_allclose(ours.mean(), true.mean(), atol=0.08 * spread)
    np.testing.assert_allclose(ours.std(), spread, rtol=0.05)
    np.testing.assert_allclose(np.sort(ours), np.sort(true), atol=0.45 * spread)
  assert height.max() < 14
  assert width.max() < 14


def test_masks_have_the_same_outline(expected, found):
  for ours, true in zip(sides(found), sides(expected[0]), strict=True):
    np.testing.assert_allclose(ours.mean(), true.mean(), atol=0.12)
    np.testing.assert_allclose(ours.std(), true.std(), atol=0.12)


@pytest.mark.parametrize(("grid", "count"), [((14, 14), 75), ((4, 4), 6), ((8, 6), 18)])
def test_the_count_is_exact_and_the_sets_are_a_partition(grid, count):
  mask = jax.jit(masks.block_wise)(jax.random.key(3), tokens_of(grid=grid))
  assert mask.masked.shape == (8, 1, count)
  every = np.sort(np.concatenate([mask.visible, mask.masked[:, 0]], 1), 1)
  np.testing.assert_array_equal(every, np.broadcast_to(np.arange(math.prod(grid)), every.shape))
  assert (np.asarray(mask.weight) == 1).all()
  assert len({row.tobytes() for row in np.sort(mask.masked[:, 0], 1)}) > 1


def test_what_blocks_hide_stays_hidden_and_single_tokens_fill_up():
  key = jax.random.key(5)
  mask = jax.jit(masks.block_wise)(key, tokens_of(64))
  alone = grown(jax.random.split(key)[0], 64, GRID, COUNT, (SMALLEST, 75.0), ASPECT)
  hidden = np.zeros((64, 196), bool)
  np.put_along_axis(hidden, np.asarray(mask.masked[:, 0]), True, axis=1)
  assert hidden[np.asarray(alone).reshape(64, -1)].all()
  assert 0.1 < (hidden.sum(1) - np.asarray(alone).sum((1, 2))).mean() < 1.5


def test_a_largest_block_bounds_every_block(found):
  made = np.asarray(grown(jax.random.key(0), 4000, GRID, COUNT, (SMALLEST, 20.0), ASPECT))
  # Smaller blocks lie more widely spread.
  spread = [np.prod(list(sides(x)), 0).mean() for x in (found, made)]
  assert spread[1] > 1.1 * spread[0]


def test_a_ratio_that_hides_nothing_is_refused():
  with pytest.raises(InputError, match=r"ratio 0.01 hides 0 tokens of the grid \(4, 4\)"):
    masks.block_wise(jax.random.key(0), tokens_of(grid=(4, 4)), ratio=0.01)
