"""What every mask of the package promises, above all that padding is neither shown nor asked for.

A mask is held to the laws by being exported. It needs a line in CASES if it has settings without a
default, or another grid than 4 x 6.
"""

import contextlib
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.ops import positions

B, N = 4, 24
PUBLIC = sorted(name for name, thing in vars(masks).items() if inspect.isfunction(thing))
CASES = dict(  # (the grid, the settings)
  attention_sampled=((4, 6), dict(ratio=0.7)),
  block_wise_by_chance=((4, 6), dict(chance=0.8)),
  dirichlet=((3, 2, 4), dict(visible=9)),
  easy_to_hard=((4, 6), dict(ratio=0.6, start=0.0, end=0.8)),
  inverse_block=((4, 6), dict(ratio=0.6)),
  random=((4, 6), dict(ratio=0.75)),
  random_blocks=((4, 6), dict(ratio=0.6, unit=2)),
  random_keep_few=((4, 6), dict(ratio=0.9)),
  tube=((3, 2, 4), dict(ratio=0.6)),
)
NOT_ALL = ["multi_block"]  # what is neither context nor target
HIDES_NONE = ["block_wise_by_chance"]  # where the coin says so
BY_RATIO = ["attention_sampled", "block_wise", "dirichlet", "easy_to_hard", "inverse_block"]
BY_RATIO += ["random", "random_keep_few"]  # whose counts follow from the number of real tokens

every_mask = pytest.mark.parametrize("name", PUBLIC)
padding = st.lists(  # real tokens of a sample: any set, the first ones, a corner of the grid, all
  st.one_of(
    st.integers(0, 2**N - 1).map(lambda bits: [bits >> i & 1 == 1 for i in range(N)]),
    st.integers(0, N).map(lambda k: [i < k for i in range(N)]),
    st.tuples(st.integers(0, 4), st.integers(0, 6)).map(
      lambda sides: [i // 6 < sides[0] and i % 6 < sides[1] for i in range(N)]
    ),
    st.just([True] * N),
  ),
  min_size=B,
  max_size=B,
).map(np.asarray)
cases = given(padding, st.integers(0, 2**31 - 1))
few = settings(max_examples=12, deadline=None)


def drawn(name, seed, valid, scores, values):
  grid, chosen = CASES.get(name, ((4, 6), {}))
  where = jnp.broadcast_to(positions.grid_positions(grid), (B, N, len(grid)))
  tokens = core.Tokens(values, where, valid, grid)
  mask = getattr(masks, name)(jax.random.key(seed), tokens, scores, jnp.float32(0.5), **chosen)
  return mask.visible, mask.valid, mask.masked, mask.weight


@functools.cache
def compiled(name):
  return jax.jit(functools.partial(drawn, name))


def draw(name, seed, valid, garbage=jnp.nan, run=None):
  """(visible, valid, masked, weight); scores and values of padding are `garbage`."""
  scores, values = (
    np.random.default_rng(seed + i).uniform(size=shape).astype(np.float32)
    for i, shape in enumerate(((B, N), (B, N, 2)))
  )
  if valid is not None:
    scores[~valid], values[~valid] = garbage, garbage
  run = run or compiled(name)
  arrays = (None if x is None else jnp.asarray(x) for x in (valid, scores, values))
  found = jax.device_get(run(jnp.uint32(seed), *arrays))
  return found if found[1] is not None else (found[0], found[0] >= 0, *found[2:])


def times(index, listed):
  """How often each token is listed: [b k] -> [b n]."""
  count = np.zeros((B, N), int)
  np.add.at(count, (np.arange(B)[:, None], index), listed)
  return count


def sets(found):
  """(shown, asked for), bool [b n]; nothing is listed twice in one list."""
  visible, valid, masked, weight = found
  groups = [times(masked[:, g], weight[:, g] > 0) for g in range(masked.shape[1])]
  shown = times(visible, valid)
  assert max(shown.max(), *(group.max() for group in groups)) <= 1
  return shown > 0, np.any([group > 0 for group in groups], 0)


@every_mask
@few
@cases
def test_padding_is_neither_shown_nor_asked_for(name, valid, seed):
  found = draw(name, seed, valid)
  shown, asked = sets(found)
  assert not (shown & ~valid).any()
  assert not (asked & ~valid).any()
  # Nor do the entries that fill up a list look at it, where there is anything else.
  real = valid.any(1)
  rows = np.arange(B)[real]
  assert shown[rows[:, None], found[0][real]].all()
  assert valid[rows[:, None, None], found[2][real]].all()
  assert set(np.unique(found[3])) <= {0, 1}


@every_mask
@few
@cases
def test_visible_and_masked_are_disjoint_and_cover_the_real_tokens(name, valid, seed):
  shown, asked = sets(draw(name, seed, valid))
  assert not (shown & asked).any()
  real = valid.sum(1)
  assert shown.any(1)[real > 0].all()
  if name not in NOT_ALL:
    np.testing.assert_array_equal(shown | asked, valid)
  if name not in HIDES_NONE:
    assert asked.any(1)[real > 1].all()


@every_mask
@few
@cases
def test_what_padding_holds_and_other_samples_change_nothing(name, valid, seed):
  expected = draw(name, seed, valid)
  for other in (0.0, -jnp.inf, 1e9):
    for x, y in zip(draw(name, seed, valid, other), expected, strict=True):
      np.testing.assert_array_equal(x, y)
  others = valid.copy()
  others[1:] = valid[1:, ::-1]
  for x, y in zip(draw(name, seed, others), expected, strict=True):
    np.testing.assert_array_equal(x[0], y[0])


@pytest.mark.parametrize("name", BY_RATIO)
@few
@cases
def test_counts_are_those_of_as_many_tokens_wherever_they_lie(name, valid, seed):
  shown, _ = sets(draw(name, seed, valid))
  moved = np.random.default_rng(seed).permuted(valid, axis=1)
  np.testing.assert_array_equal(sets(draw(name, seed, moved))[0].sum(1), shown.sum(1))


@every_mask
def test_all_real_is_as_no_padding(name):
  """The same sets, and lists of the same length."""
  for seed in range(4):
    whole, padded = draw(name, seed, None), draw(name, seed, np.ones((B, N), bool))
    assert [x.shape for x in whole] == [x.shape for x in padded]
    for x, y in zip(sets(whole), sets(padded), strict=True):
      np.testing.assert_array_equal(x, y)


@every_mask
def test_compiled_is_eager(name):
  valid = np.random.default_rng(0).uniform(size=(B, N)) < 0.6
  eager = draw(name, 3, valid, run=functools.partial(drawn, name))
  for x, y in zip(draw(name, 3, valid), eager, strict=True):
    np.testing.assert_array_equal(x, y)


@every_mask
def test_a_sample_without_tokens_weighs_nothing(name):
  valid = np.ones((B, N), bool)
  valid[1] = False
  _, listed, _, weight = draw(name, 0, valid)
  assert not listed[1].any()
  assert not weight[1].any()
  assert listed[0].any()
  none = jnp.asarray(draw(name, 0, np.zeros((B, N), bool))[3])
  assert core.weighted_mean(jnp.ones_like(none), none) == 0


@pytest.mark.parametrize(
  ("name", "real", "visible"),
  [("random", 8, 2), ("random_keep_few", 8, 1), ("dirichlet", 8, 3), ("block_wise", 8, 5)],
)
def test_fewer_real_tokens_show_proportionally_fewer(name, real, visible):
  valid = np.tile(np.arange(N) < real, (B, 1))
  assert (sets(draw(name, 0, valid))[0].sum(1) == visible).all()


@every_mask
@pytest.mark.parametrize("grid", [(), (12,), (3, 4), (2, 2, 3)])
def test_a_grid_is_taken_or_refused_in_words(name, grid):
  n = int(np.prod(grid)) if grid else 12
  chosen = CASES.get(name, (None, {}))[1]
  tokens = core.Tokens(jnp.zeros((1, n, 2)), jnp.zeros((1, n, len(grid))), grid=grid)
  for valid in (None, jnp.ones((1, n), bool)):
    tokens = core.Tokens(tokens.values, tokens.positions, valid, grid)
    make = functools.partial(getattr(masks, name), scores=jnp.ones((1, n)), progress=0.5, **chosen)
    with contextlib.suppress(InputError):
      assert jax.eval_shape(make, jax.random.key(0), tokens).visible.shape[1] > 0
