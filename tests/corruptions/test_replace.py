"""BERT's 80/10/10: how many are replaced by what, and that nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import core, corruptions, masks
from mim_jax.errors import InputError

MASK_ID, VOCABULARY = 256, 256


def drawn(ids, ratio=0.5, seed=0):
  """A mask of ids [b n], -1 where there is none."""
  where = jnp.broadcast_to(
    jnp.arange(ids.shape[1], dtype=jnp.float32)[None, :, None], (*ids.shape, 1)
  )
  tokens = core.Tokens(jnp.zeros((*ids.shape, 1)), where, ids >= 0, ids.shape[1:])
  return masks.random(jax.random.key(seed), tokens, ratio=ratio)


def asked(mask, n):
  found = np.zeros((len(mask.masked), n), bool)
  for row, index, weight in zip(found, mask.masked[:, 0], mask.weight[:, 0], strict=True):
    row[np.asarray(index)[np.asarray(weight) > 0]] = True
  return found


def texts(seed, b, n):
  """Ids of random lengths, at least two in each row."""
  random = np.random.default_rng(seed)
  ids = random.integers(0, VOCABULARY, (b, n), np.int32)
  lengths = random.integers(2, n + 1, b)
  return jnp.asarray(np.where(np.arange(n)[None] < lengths[:, None], ids, -1))


def replaced(ids, mask, seed=1, **changed):
  settings = dict(masked_id=MASK_ID, vocabulary=VOCABULARY) | changed
  return corruptions.replace_tokens(jax.random.key(seed), ids, mask, **settings)


def test_shares_of_what_the_mask_asks_for():
  ids = texts(0, 256, 200)
  mask = drawn(ids)
  found = replaced(ids, mask)
  hidden, given = asked(mask, 200), np.asarray(found.inputs)
  assert hidden.sum() > 10_000
  kept = np.asarray(found.kept)[hidden]
  signs = (given == MASK_ID)[hidden]
  others = ~kept & ~signs
  np.testing.assert_allclose([x.mean() for x in (signs, others, kept)], [0.8, 0.1, 0.1], atol=0.01)
  drawn_ids = given[hidden][others]
  assert drawn_ids.min() >= 0 and drawn_ids.max() < VOCABULARY
  assert len(np.unique(drawn_ids)) > 200  # of all the vocabulary
  assert abs((drawn_ids == np.asarray(ids)[hidden][others]).mean()) < 0.02  # by chance alone


@given(
  seed=st.integers(0, 99), n=st.integers(3, 24), keep=st.floats(0, 0.5), random=st.floats(0, 0.5)
)
@settings(max_examples=25, deadline=None)
def test_nothing_outside_the_mask_changes_and_kept_is_inside(seed, n, keep, random):
  ids = texts(seed, 4, n)
  mask = drawn(ids, seed=seed)
  found = replaced(ids, mask, seed, keep=keep, random=random)
  hidden, given, kept = asked(mask, n), np.asarray(found.inputs), np.asarray(found.kept)
  np.testing.assert_array_equal(given[~hidden], np.asarray(ids)[~hidden])  # padding among them
  np.testing.assert_array_equal(given[kept], np.asarray(ids)[kept])
  assert not (kept & ~hidden).any()
  assert (given[np.asarray(ids) >= 0] >= 0).all()


@given(seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_what_is_given_does_not_depend_on_what_is_hidden_but_for_kept(seed):
  ids = texts(seed, 4, 16)
  mask = drawn(ids, seed=seed)
  other = jnp.where(jnp.asarray(asked(mask, 16)), (ids + 7) % VOCABULARY, ids)
  first, second = replaced(ids, mask), replaced(other, mask)
  np.testing.assert_array_equal(first.kept, second.kept)
  differ = np.asarray(first.inputs) != np.asarray(second.inputs)
  assert not (differ & ~np.asarray(first.kept)).any()


def test_all_or_none_may_be_kept():
  ids = texts(3, 8, 16)
  mask = drawn(ids)
  hidden = asked(mask, 16)
  np.testing.assert_array_equal(replaced(ids, mask, keep=1.0, random=0.0).inputs, ids)
  none = replaced(ids, mask, keep=0.0, random=0.0)
  assert (np.asarray(none.inputs)[hidden] == MASK_ID).all()
  assert not np.asarray(none.kept).any()


def test_the_type_of_the_ids_stays():
  ids = texts(3, 8, 16).astype(jnp.int16)
  assert replaced(ids, drawn(ids)).inputs.dtype == jnp.int16


@pytest.mark.parametrize("shares", [dict(keep=-0.1), dict(keep=0.6, random=0.6), dict(random=2.0)])
def test_fractions_that_are_none_are_refused(shares):
  ids = texts(3, 2, 8)
  with pytest.raises(InputError, match=r"objective.corruption: keep=.* BERT has 0.1 each"):
    replaced(ids, drawn(ids), **shares)
