"""Block masks of a drawn ratio, against the published algorithm one image after the other."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.ops import positions

B = 6000


def tokens_of(grid, b):
  n = grid[0] * grid[1]
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2))
  return core.Tokens(jnp.zeros((b, n, 1)), where, grid=grid)


@functools.cache
def draw(grid=(14, 14), b=B, **settings):
  make = jax.jit(lambda key: masks.block_wise_by_chance(key, tokens_of(grid, b), **settings))
  return jax.device_get(make(jax.random.key(0)))


def plain(rng, side, high):
  """One mask as the reference's loop draws it."""
  mask = np.zeros((side, side), bool)
  low = (side // 3) ** 2
  while mask.sum() < high:
    for _ in range(10):
      left = high - mask.sum()
      area = low + (left - low) * rng.random()  # also where the interval is reversed
      ratio = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
      h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
      if h >= side or w >= side:
        continue
      top, start = rng.integers(side - h + 1), rng.integers(side - w + 1)
      block = np.zeros_like(mask)
      block[top : top + h, start : start + w] = True
      if 0 < (block & ~mask).sum() <= left:
        mask |= block
        break
    else:
      break
  return mask.ravel()


@functools.cache
def expected(side=14, count=2500):
  rng = np.random.default_rng(1)
  return np.asarray([plain(rng, side, rng.uniform(0.1, 0.5) * side**2) for _ in range(count)])


def members(mask):
  b, n = mask.positions.shape[:2]
  seen, hidden = np.zeros((b, n), int), np.zeros((b, n), int)
  rows = np.arange(b)[:, None]
  np.add.at(seen, (rows, mask.visible), mask.valid)
  np.add.at(hidden, (rows, mask.masked[:, 0]), mask.weight[:, 0] > 0)
  return seen, hidden


@pytest.mark.parametrize("side", [14, 4])
def test_visible_and_masked_are_disjoint_and_cover(side):
  mask = draw((side, side))
  seen, hidden = members(mask)
  np.testing.assert_array_equal(seen + hidden, 1)
  assert seen[np.arange(B)[:, None], mask.visible].all()  # the padding repeats what is seen
  assert mask.visible.shape == (B, side**2)
  assert mask.masked.shape == (B, 1, side**2 // 2)


def test_half_of_the_views_are_left_whole():
  _, hidden = members(draw())
  assert (hidden.sum(1) == 0).mean() == pytest.approx(0.5, abs=5 * 0.5 / B**0.5)


def test_shares_are_those_of_the_published_loop():
  _, hidden = members(draw(chance=1.0))
  shares, wanted = hidden.mean(1), expected().mean(1)
  assert shares.mean() == pytest.approx(0.297, abs=0.006)
  assert (hidden.sum(1).min(), hidden.sum(1).max()) >= (13, 96)
  assert hidden.sum(1).max() <= 98
  for q in (0.05, 0.25, 0.5, 0.75, 0.95):
    assert np.quantile(shares, q) == pytest.approx(np.quantile(wanted, q), abs=0.015)


def test_places_are_those_of_the_published_loop():
  _, hidden = members(draw(chance=1.0))
  found, wanted = hidden.mean(0), expected().mean(0)
  spread = np.sqrt(wanted * (1 - wanted) * (1 / B + 1 / len(expected())))
  assert (np.abs(found - wanted) < 5 * spread).all()
  middle, corner = found.reshape(14, 14)[7, 7], found.reshape(14, 14)[0, 0]
  assert middle > 5 * corner


def test_every_image_draws_for_itself():
  _, hidden = members(draw())
  assert len(np.unique(hidden, axis=0)) > 0.45 * B


@pytest.mark.parametrize("ratio", [(0.0, 0.5), (0.5, 0.1), (0.1, 1.0), (0.01, 0.02)])
def test_refuses_ratios_that_cannot_be(ratio):
  with pytest.raises(InputError, match=r"objective.mask.ratio"):
    masks.block_wise_by_chance(jax.random.key(0), tokens_of((4, 4), 1), ratio=ratio)
