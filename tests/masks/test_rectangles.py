"""Target rectangles and their context, against a plain sampler that cuts and pads nothing."""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import rectangles
from mim_jax.ops import positions

B = 20_000
WHERE = "ijepa", "the paper", "mask"


def tokens_of(grid, b):
  n = grid[0] * grid[1]
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2))
  return core.Tokens(jnp.zeros((b, n, 1)), where, grid=grid)


@functools.cache
def draw(grid=(14, 14), b=B, seed=0, **settings):
  make = jax.jit(lambda key: rectangles.multi_block(key, tokens_of(grid, b), **settings))
  return jax.device_get(make(jax.random.key(seed)))


def plain(grid, count, seed=1, blocks=4, least=0.05):
  """The draw as the paper words it, one image after the other: lists of any length."""
  rng = np.random.default_rng(seed)
  rows, columns = grid

  def rectangle(h, w):
    h, w = (min(max(1, round(x)), side) for x, side in ((h, rows), (w, columns)))
    top, left = rng.integers(rows - h + 1), rng.integers(columns - w + 1)
    cells = np.zeros(grid, bool)
    cells[top : top + h, left : left + w] = True
    return cells.ravel()

  contexts, targets = np.zeros((count, rows * columns), bool), []
  for i in range(count):
    drawn = []
    for _ in range(blocks):
      area, ratio = rng.uniform(0.15, 0.2) * rows * columns, rng.uniform(0.75, 1.5)
      drawn.append(rectangle((area * ratio) ** 0.5, (area / ratio) ** 0.5))
    side = rng.uniform(0.85, 1.0) ** 0.5
    view = rectangle(rows * side, columns * side)
    while len(drawn) > 1 and (view & ~np.any(drawn, 0)).sum() < least * rows * columns:
      drawn.pop()
    contexts[i] = view & ~np.any(drawn, 0)
    targets += drawn
  return contexts, np.asarray(targets)


@functools.cache
def expected(grid):
  return plain(grid, B)


def members(mask):
  """(context [b n], targets [b g n]) as truth tables."""
  b, n = mask.positions.shape[:2]
  context, target = np.zeros((b, n), int), np.zeros((*mask.masked.shape[:2], n), int)
  np.add.at(context, (np.arange(b)[:, None], mask.visible), mask.valid)
  image, group = np.ogrid[:b, : target.shape[1]]
  np.add.at(target, (image[..., None], group[..., None], mask.masked), mask.weight > 0)
  assert context.max() == target.max() == 1  # nothing is listed twice
  return context.astype(bool), target.astype(bool)


def close(found, wanted, count):
  """Shares within five standard deviations of each other; returns the largest difference."""
  spread = np.sqrt(np.maximum(wanted * (1 - wanted), 1e-3) / count)
  np.testing.assert_array_less(np.abs(found - wanted), 5 * np.sqrt(2) * spread)
  return np.abs(found - wanted).max()


@pytest.mark.parametrize("grid", [(14, 14), (4, 4), (6, 10)])
def test_every_position_is_context_and_target_as_often_as_without_padding(grid, record):
  context, target = members(draw(grid))
  contexts, targets = expected(grid)
  used = target.any(-1)
  gaps = [close(context.mean(0), contexts.mean(0), B)]
  gaps += [close(target[used].mean(0), targets.mean(0), used.sum() / 4)]
  assert used.sum() / B == pytest.approx(len(targets) / B, abs=0.03)
  assert context.sum(1).mean() == pytest.approx(contexts.sum(1).mean(), rel=0.01)
  counts = [np.bincount(c.sum(1), minlength=1 + context.shape[1]) for c in (context, contexts)]
  gaps += [np.abs(np.cumsum(counts[0] - counts[1])).max() / B]
  assert gaps[-1] < 2.3 * np.sqrt(2 / B)  # Kolmogorov and Smirnov's
  if grid == (14, 14):
    record(*WHERE, max(gaps))


def test_no_row_is_lost():
  """The reference loses most of the bottom rows to a cut in raster order, and all of the last."""
  context, target = members(draw())
  rows = context.reshape(B, 14, 14).mean((0, 2))
  np.testing.assert_allclose(rows, rows[::-1], atol=0.02)
  assert rows.min() > 0.25
  edge = target.reshape(-1, 14, 14).mean(0)
  assert min(edge[-1].min(), edge[:, -1].min()) > 0.0005


def test_counts_as_in_the_fact_sheet():
  """The corrected draw, simulated from the paper's numbers: quantiles of v and range of m."""
  context, target = members(draw())
  quantiles = np.quantile(context.sum(1), [0.01, 0.05, 0.25, 0.5, 0.75, 0.95])
  np.testing.assert_allclose(quantiles, [52, 62, 77, 89, 103, 121], atol=2)
  sizes = target.sum(-1)
  assert (sizes.min(), sizes.max()) == (25, 42)
  assert draw().masked.shape == (B, 4, 42)
  assert draw().visible.shape[1] <= 196 - 20


@pytest.mark.parametrize("grid", [(14, 14), (4, 4), (6, 10)])
def test_context_and_targets_are_disjoint_and_padding_repeats_what_is_seen(grid):
  mask = draw(grid)
  context, target = members(mask)
  assert not (context & target.any(1)).any()
  rows = np.arange(B)[:, None]
  assert context[rows, mask.visible].all()  # the filled-up entries too
  assert target.any(-1)[:, 0].all()
  assert context.any(1).all()
  assert mask.masked.min() >= 0
  assert mask.masked.max() < grid[0] * grid[1]


@pytest.mark.parametrize("grid", [(14, 14), (6, 10)])
def test_targets_are_full_rectangles_of_the_possible_shapes(grid, record):
  _, target = members(draw(grid))
  cells = target[target.any(-1)].reshape(-1, *grid)
  heights, widths = cells.any(2).sum(1), cells.any(1).sum(1)
  np.testing.assert_array_equal(cells.sum((1, 2)), heights * widths)
  found = set(zip(heights.tolist(), widths.tolist(), strict=True))
  allowed = rectangles.shapes(grid, (0.15, 0.2), (0.75, 1.5))
  assert found <= set(allowed)
  assert max(h * w for h, w in found) == max(h * w for h, w in allowed)
  # Shapes as often as where scale and aspect are drawn apart, not from one number.
  wanted = expected(grid)[1].reshape(-1, *grid)
  for h, w in allowed:
    share = ((heights == h) & (widths == w)).mean()
    gap = close(share, ((wanted.any(2).sum(1) == h) & (wanted.any(1).sum(1) == w)).mean(), B)
    if grid == (14, 14):
      record(*WHERE, gap)


def test_a_smaller_context_is_a_fair_sample_of_the_whole():
  whole, _ = members(draw())
  some = draw(most=0.3)
  assert some.visible.shape == (B, 59)
  assert some.valid.mean() > 0.9
  context, _ = members(some)
  # The same draw but for the thinning: each member stays with chance 59 / v.
  wanted = (whole * np.minimum(1, 59 / whole.sum(1, keepdims=True))).mean(0)
  close(context.mean(0), wanted, B)
  assert not (context & ~whole).any()


def test_targets_are_given_up_before_the_context_vanishes():
  mask = draw(grid=(4, 4), least=0.4)
  context, target = members(mask)
  used = target.any(-1).sum(1)
  assert set(used) <= {1, 2, 3, 4}
  assert 0.05 < (used < 4).mean() < 0.95
  assert context.sum(1)[used > 1].min() >= 7
  lost = collections.Counter(map(tuple, target.any(-1).tolist()))
  assert all(list(kind) == sorted(kind, reverse=True) for kind in lost)


def test_refuses_a_grid_on_which_nothing_may_be_left():
  with pytest.raises(InputError, match=r"vanish behind a target.*objective.mask.context"):
    rectangles.multi_block(
      jax.random.key(0), tokens_of((4, 4), 1), scale=(0.9, 1.0), aspect=(1.0, 1.0)
    )


def corner(grid, sides, b):
  """Tokens of which those of one corner of the grid are real, and which."""
  real = np.zeros((b, *grid), bool)
  real[:, : sides[0], : sides[1]] = True
  real = real.reshape(b, -1)
  return dataclasses.replace(tokens_of(grid, b), valid=jnp.asarray(real)), real


def test_a_padded_image_is_drawn_as_one_of_the_size_of_what_is_real():
  tokens, real = corner((14, 14), (8, 6), 4000)
  mask = jax.device_get(jax.jit(rectangles.multi_block)(jax.random.key(0), tokens))
  context, target = members(mask)
  small_context, small_target = members(draw((8, 6), 4000))
  assert not (context & ~real).any()
  assert not (target & ~real[:, None]).any()
  close(context[:, real[0]].mean(0), small_context.mean(0), 4000)
  close(target[..., real[0]].mean((0, 1)), small_target.mean((0, 1)), 4000)


def test_a_smaller_context_is_the_same_share_of_a_padded_sample():
  tokens, _ = corner((14, 14), (7, 7), 50)
  mask = jax.jit(functools.partial(rectangles.multi_block, most=0.3))(jax.random.key(0), tokens)
  assert mask.visible.shape == (50, 59)
  assert mask.valid.sum(1).max() == 15  # ceil(0.3 x 49)


@pytest.mark.parametrize("grid", [(), (16,), (2, 2, 4)])
def test_refuses_tokens_that_have_no_rows_and_columns(grid):
  tokens = core.Tokens(jnp.zeros((1, 16, 1)), jnp.zeros((1, 16, len(grid))), grid=grid)
  with pytest.raises(InputError, match=r"multi_block: tokens must lie on a 2-D grid.*masks.random"):
    rectangles.multi_block(jax.random.key(0), tokens)


@pytest.mark.parametrize(
  "ranges", [dict(scale=(0.2, 0.15)), dict(aspect=(0.0, 1.0)), dict(context=(1.0, 0.9))]
)
def test_refuses_ranges_that_are_none(ranges):
  with pytest.raises(InputError, match=rf"{next(iter(ranges))} \(.* is no range.*objective.mask"):
    rectangles.multi_block(jax.random.key(0), tokens_of((14, 14), 1), **ranges)
