"""Uniformly random masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import core, masks
from mim_jax.errors import InputError


def tokens_of(b, n):
  return core.Tokens(jnp.zeros((b, n, 2)), jnp.zeros((b, n, 2)), grid=(n,))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 40), st.floats(0.1, 0.9), st.integers(0, 2**31 - 1))
def test_visible_and_masked_are_disjoint_and_cover(b, n, ratio, seed):
  if not 0 < int(n * (1 - ratio)) < n:
    return
  mask = masks.random(jax.random.key(seed), tokens_of(b, n), ratio=ratio)
  both = np.concatenate([mask.visible, mask.masked[:, 0]], 1)
  np.testing.assert_array_equal(np.sort(both, 1), np.tile(np.arange(n), (b, 1)))
  assert mask.visible.shape[1] == int(n * (1 - ratio))
  assert (np.asarray(mask.weight) == 1).all()


def test_every_sample_draws_its_own_and_every_token_is_as_likely():
  mask = masks.random(jax.random.key(1), tokens_of(4000, 16), ratio=0.75)
  counts = np.bincount(np.asarray(mask.visible).ravel(), minlength=16)
  # Each token is visible with chance 1/4: mean 1000, standard deviation 27.
  assert np.abs(counts - 1000).max() < 5 * 27.4
  assert len(np.unique(np.sort(mask.visible, 1), axis=0)) > 1000


def test_the_published_count():
  assert masks.random(jax.random.key(0), tokens_of(1, 196), ratio=0.75).visible.shape == (1, 49)


@pytest.mark.parametrize(
  ("ratio", "left"), [(1.0, "0 of 16"), (0.99, "0 of 16"), (0.0, "16 of 16"), (-1.0, "16 of 16")]
)
def test_a_ratio_that_leaves_nothing_visible_or_masked_is_refused(ratio, left):
  with pytest.raises(
    InputError, match=f"{left} tokens visible.*0.0625 to 0.9375.*objective.mask.ratio"
  ):
    masks.random(jax.random.key(0), tokens_of(1, 16), ratio=ratio)


def test_no_token_at_all_is_refused():
  with pytest.raises(InputError, match="leaves 0 of 0 tokens visible"):
    masks.random(jax.random.key(0), tokens_of(1, 0), ratio=0.5)


@pytest.mark.parametrize(
  ("n", "ratio", "down", "nearest"), [(49, 0.6, 19, 20), (144, 0.75, 36, 36), (4, 0.6, 1, 2)]
)
def test_visible_tokens_are_rounded_down_or_to_the_nearest(n, ratio, down, nearest):
  for rounding, expected in (("down", down), ("nearest", nearest)):
    mask = masks.random(jax.random.key(0), tokens_of(2, n), ratio=ratio, rounding=rounding)
    assert mask.visible.shape == (2, expected)
    assert mask.masked.shape == (2, 1, n - expected)
