import collections
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import errors
from mim_jax.data import pipeline
from mim_jax.data.image import sources


def numbered(n):
  """A source whose labels are its indices."""
  return sources.Arrays(np.zeros((n, 1, 1, 1), np.uint8), np.arange(n))


def labels(iterator, count):
  return np.concatenate([next(iterator)["label"] for _ in range(count)])


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_each_epoch_is_another_permutation_of_all(n, seed, epochs):
  seen = pipeline.permute(np.arange(n * epochs), n, seed).reshape(epochs, n)
  np.testing.assert_array_equal(np.sort(seen), np.tile(np.arange(n), (epochs, 1)))
  if n > 20:  # equal by chance otherwise
    assert len({tuple(epoch) for epoch in seen}) == epochs


@given(st.integers(1, 30), st.integers(0, 99), st.lists(st.integers(0, 200), max_size=20))
def test_order_is_a_function_of_seed_and_index(n, seed, positions):
  whole = pipeline.permute(np.arange(201), n, seed)
  positions = np.array(positions, int)
  np.testing.assert_array_equal(pipeline.permute(positions, n, seed), whole[positions])


def test_seeds_share_no_epoch():
  first, second = (pipeline.permute(np.arange(300), 100, seed).reshape(3, 100) for seed in (0, 1))
  assert not any((a == b).all() for a in first for b in second)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 30), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2), st.data())
def test_a_resumed_run_sees_the_same_batches(n, before, after, threads, data):
  size = data.draw(st.integers(1, n))
  whole = pipeline.batches(numbered(n), size, 3, threads=threads)
  labels(whole, before) if before else None
  state = json.loads(json.dumps(whole.get_state()))
  expected = labels(whole, after + 1)
  resumed = pipeline.batches(numbered(n), size, 3, threads=2 - threads)
  next(resumed)  # a state may be set at any time
  resumed.set_state(state)
  np.testing.assert_array_equal(labels(resumed, after + 1), expected)
  assert resumed.get_state() == whole.get_state() == {"next_batch": before + after + 1}
  whole.close()
  resumed.close()


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shards_together_are_the_global_batch(count):
  source = numbered(20)
  whole = pipeline.batches(source, 12, 0)
  shards = [pipeline.batches(source, 12, 0, shard=(i, count)) for i in range(count)]
  for _ in range(5):
    parts = [next(shard)["label"] for shard in shards]
    np.testing.assert_array_equal(np.concatenate(parts), next(whole)["label"])


def test_batches_cover_epochs_across_their_border():
  counts = collections.Counter(labels(pipeline.batches(numbered(10), 4, 0), 5).tolist())
  assert counts == dict.fromkeys(range(10), 2)


@pytest.mark.slow
def test_processes_read_the_same_batches():
  source = sources.digits()
  plain, spread = pipeline.batches(source, 64, 0), pipeline.batches(source, 64, 0, workers=1)
  np.testing.assert_array_equal(labels(spread, 3), labels(plain, 3))
  spread.set_state({"next_batch": 1})
  np.testing.assert_array_equal(labels(spread, 2), labels(pipeline.batches(source, 64, 0), 3)[64:])
  spread.close()


def test_too_few_images_and_uneven_shares_are_explained():
  with pytest.raises(errors.InputError, match=r"has 10 samples.*batch of 16.*that fits is 10"):
    pipeline.batches(numbered(10), 16, 0)
  with pytest.raises(errors.InputError, match="that fits is 8"):
    pipeline.batches(numbered(10), 16, 0, shard=(0, 4))
  with pytest.raises(errors.InputError, match="Give more samples"):
    pipeline.batches(numbered(2), 4, 0, shard=(0, 4))
  with pytest.raises(errors.InputError, match="multiple of 4, say 8"):
    pipeline.batches(numbered(10), 10, 0, shard=(0, 4))
  with pytest.raises(errors.InputError, match="seed"):
    pipeline.batches(numbered(10), 5, -1)


@given(st.integers(1, 20), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_one_ordered_pass_is_padded_to_whole_batches(n, size):
  passed = list(pipeline.in_order(numbered(n), size))
  assert all(batch["image"].shape == (size, 1, 1, 1) for batch, _ in passed)
  real = np.concatenate([batch["label"][:count] for batch, count in passed])
  np.testing.assert_array_equal(real, np.arange(n))
  assert sum(count for _, count in passed) == n
