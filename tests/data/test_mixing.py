import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import config, errors
from mim_jax.data import mixing, pipeline
from mim_jax.data.image import sources
from mim_jax.data.pool import pseudo


def numbered(n, label=None, first=0, side=1, classes=()):
  """A source whose pixels are its numbers."""
  image = np.broadcast_to((first + np.arange(n, dtype=np.uint8))[:, None, None], (n, side, side))
  return sources.Arrays(np.ascontiguousarray(image), label, classes, name=f"from {first}")


def stream_of(source, count, seed=0):
  return source.order(np.arange(count), seed)


# --- A part ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=60), st.floats(0.01, 1), st.integers(0, 5))
def test_a_part_holds_the_fraction_of_each_class(label, fraction, per_class):
  label = np.array(label)
  part = mixing.subset(
    source=lambda: numbered(len(label), label), fraction=fraction, per_class=per_class
  )
  for value in np.unique(label):
    count = max(1, round(fraction * (label == value).sum()))
    assert (part.label == value).sum() == min(count, per_class or count)
  assert len(set(part.rows)) == len(part)
  batch = part[np.arange(len(part))]
  np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], part.rows)
  np.testing.assert_array_equal(batch["label"], label[part.rows])


def test_parts_of_another_draw_or_size_are_told_apart():
  kinds = [dict(fraction=0.5), dict(fraction=0.5, draw=1), dict(fraction=0.4), {}]
  parts = [mixing.subset(source=lambda: numbered(20), **kind) for kind in kinds]
  assert len({part.fingerprint for part in parts}) == 4
  with pytest.raises(errors.InputError, match=r"fraction 0\.0 must"):
    mixing.subset(source=lambda: numbered(20), fraction=0.0)


# --- Weights --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6), st.integers(1, 900))
def test_each_stretch_of_the_stream_has_its_shares(weights, stop):
  shares = np.array(weights) / sum(weights)
  groups = [np.arange(10 * i, 10 * i + 10) for i in range(len(weights))]
  source = mixing.Mixture(numbered(10 * len(weights)), groups, np.array(weights))
  counts = np.bincount(stream_of(source, stop) // 10, minlength=len(weights))
  np.testing.assert_array_less(np.abs(counts - shares * stop), 2.0)


def test_each_group_goes_through_epochs_of_its_own():
  source = mixing.Mixture(numbered(15), [np.arange(10), np.arange(10, 15)], np.array([0.5, 0.5]))
  seen = stream_of(source, 4000, seed=7)
  for group in source.groups:
    drawn = seen[np.isin(seen, group)]
    epochs = drawn[: len(drawn) // len(group) * len(group)].reshape(-1, len(group))
    np.testing.assert_array_equal(np.sort(epochs), np.tile(group, (len(epochs), 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 60
  assert (seen != stream_of(source, 4000, seed=8)).any()


def test_classes_in_balance():
  label = np.array([0] * 80 + [1] * 15 + [2] * 5)
  found = label[stream_of(mixing.balanced(source=lambda: numbered(100, label)), 3000)]
  np.testing.assert_array_equal(np.bincount(found), [1000] * 3)
  as_is = mixing.balanced(source=lambda: numbered(100, label), power=1.0)
  counts = np.bincount(label[stream_of(as_is, 999)])
  np.testing.assert_allclose(counts, [800, 150, 50], atol=1)
  maps = mixing.balanced(source=pseudo.digits_with_maps)
  batch = maps.draw(maps.order(np.arange(20), 0), np.arange(20), 0)
  np.testing.assert_array_equal(np.bincount(batch["label"]), [2] * 10)
  assert batch["depth"].shape == (20, 8, 8)
  with pytest.raises(errors.InputError, match="no labels to balance"):
    mixing.balanced(source=lambda: numbered(9))


# --- Several sources ------------------------------------------------------------------------------


def two(weights=None):
  """Cats and dogs of 1 x 1, dogs and birds of 3 x 3."""
  first = numbered(30, np.arange(30) % 2, 0, 1, ("cat", "dog"))
  second = numbered(6, np.arange(6) % 2, 100, 3, ("dog", "bird"))
  return mixing.mixed(
    sources=dict(a=lambda: first, b=lambda: second), weights=weights or dict(a=1.0, b=3.0)
  )


def test_sources_are_mixed_by_weight_with_their_classes_united():
  source = two()
  assert len(source) == 36
  assert source.classes == ("cat", "dog", "bird")
  batch = next(pipeline.batches(source, 8, 0))
  assert batch["image"].shape == (8, 3, 3, 1)
  pixel, label = batch["image"][:, 0, 0, 0], batch["label"]
  assert (pixel >= 100).sum() == 6
  np.testing.assert_array_equal(batch["size"], np.where(pixel >= 100, 3, 1)[:, None].repeat(2, 1))
  np.testing.assert_array_equal(label, np.where(pixel >= 100, 1 + pixel % 2, pixel % 2))
  np.testing.assert_array_equal(source.label[:2], [0, 1])
  assert source.names(np.array([0, 31])) == ["from 0 0", "from 100 1"]


class Lines:
  """A source of ragged rows of numbers, as long as its longest."""

  classes, label = (), np.zeros(2, np.int32)

  def __init__(self, length, **fill):
    self.length = length
    if fill:
      self.fill = fill

  def __len__(self):
    return 2

  def __getitem__(self, indices):
    shape = len(indices), self.length
    return dict(
      text=np.full(shape, 1 + self.length, np.int16),
      mask=np.ones(shape, np.uint8),
      length=np.full(len(indices), self.length),
      label=self.label[indices],
    )


def test_ragged_entries_are_filled_up_by_the_value_of_their_source():
  for sources_fill in (dict(text=-1), {}):
    first, second = Lines(2, **sources_fill), Lines(3, **sources_fill)
    joined = mixing.Concat((first, mixing.Subset(second, np.array([1]))))
    whole = mixing.Concat((joined, Lines(5, **sources_fill)))  # also of joined ones
    assert whole.fill == joined.fill == sources_fill
    assert mixing.Mixture(whole, [np.arange(5)], np.ones(1)).fill == sources_fill
    batch = joined[np.array([0, 2])]
    by = sources_fill.get("text", 0)
    np.testing.assert_array_equal(batch["text"], [[3, 3, by], [4, 4, 4]])
    np.testing.assert_array_equal(batch["mask"], [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(batch["length"], [2, 3])
  with pytest.raises(errors.InputError, match=r"fill up 'text' by -1 and 7"):
    mixing.Concat((Lines(2, text=-1), Lines(3, text=7)))


def test_a_mixed_stream_resumes_and_shards_exactly():
  whole = pipeline.batches(two(), 12, 3)
  expected = [next(whole)["image"] for _ in range(6)]
  resumed = pipeline.batches(two(), 12, 3)
  resumed.set_state({"next_batch": 4})
  np.testing.assert_array_equal(next(resumed)["image"], expected[4])
  shards = [pipeline.batches(two(), 12, 3, shard=(i, 2)) for i in range(2)]
  parts = np.concatenate([next(shard)["image"] for shard in shards])
  np.testing.assert_array_equal(parts, expected[0])


def test_weights_that_cannot_be_are_explained():
  assert two().fingerprint != two(dict(a=1.0, b=2.0)).fingerprint
  with pytest.raises(errors.InputError, match=r"data\.weights: \[1\.0, -1\.0\]"):
    two(dict(a=1.0, b=-1.0))
  with pytest.raises(errors.InputError, match="less than one sample in 1000"):
    two(dict(a=1.0, b=1e-6))
  with pytest.raises(errors.InputError, match="'b' is unknown"):
    two(dict(a=1.0))
  grey, colour = numbered(3), sources.Arrays(np.zeros((3, 1, 1, 3), np.uint8))
  joined = mixing.Concat((grey, colour))
  with pytest.raises(errors.InputError, match="1, 3 channels"):
    joined[np.array([0, 4])]


def test_a_mixture_is_a_config_like_any_other():
  digits = config.part(sources.digits, split="train[:50%]")
  node = config.part(
    mixing.mixed,
    sources=dict(
      plain=config.part(mixing.balanced, source=digits),
      few=config.part(mixing.subset, source=digits, per_class=2),
    ),
    weights=dict(plain=0.9, few=0.1),
  )
  again = config.from_json(config.to_json(node))
  source = config.build(again)()
  assert len(source) == 719 + 20
  assert source.fingerprint == config.build(node)().fingerprint
  assert json.loads(config.to_json(node))["weights"] == {"few": 0.1, "plain": 0.9}
