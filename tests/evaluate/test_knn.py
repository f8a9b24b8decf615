"""Nearest neighbours against scikit-learn, and the features they stand on."""

import types

import numpy as np
import pytest
from sklearn import neighbors

from mim_jax import errors
from mim_jax.data.image import sources
from mim_jax.evaluate import features
from mim_jax.evaluate.frozen import neighbours


def source(n, classes=4, seed=0):
  random = np.random.default_rng(seed)
  label = random.integers(0, classes, n)
  image = random.integers(0, 128, (n, 4, 3, 1)) + 24 * label[:, None, None, None]
  return sources.Arrays(image.astype(np.uint8), label, tuple("abcdefgh"[:classes]))


def flat(batch, layer=None, pool="mean"):
  return batch["image"].reshape(len(batch["image"]), -1).astype(np.float32) - 90


@pytest.mark.parametrize("k", [1, 7, 20])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_as_scikit_learn_does(k, temperature):
  random = np.random.default_rng(k)
  bank, labels = random.normal(size=(300, 16)).astype(np.float32), random.integers(0, 5, 300)
  queries = random.normal(size=(111, 16)).astype(np.float32)
  reference = neighbors.KNeighborsClassifier(
    k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
  ).fit(bank, labels)
  np.testing.assert_array_equal(
    neighbours.vote(bank, labels, queries, k, temperature), reference.predict(queries)
  )


def test_chunks_do_not_change_the_vote(monkeypatch):
  random = np.random.default_rng(0)
  bank, labels = random.normal(size=(50, 8)), random.integers(0, 3, 50)
  queries = random.normal(size=(1030, 8))  # more than one chunk, and a rest
  whole = neighbours.vote(bank, labels, queries, 5)
  pieces = [neighbours.vote(bank, labels, queries[i : i + 1], 5)[0] for i in range(0, 1030, 103)]
  np.testing.assert_array_equal(whole[::103], pieces)


def test_a_low_temperature_and_a_zero_row_stay_finite():
  bank, labels = np.eye(4, dtype=np.float32), np.arange(4)
  queries = np.concatenate([bank, np.zeros((1, 4), np.float32)])
  np.testing.assert_array_equal(neighbours.vote(bank, labels, queries, 2, 1e-4)[:4], labels)


def test_accuracy_over_sources_ignores_padding_and_unlabelled():
  data = types.SimpleNamespace(train=source(101), test=source(53, seed=1))
  full = neighbours.knn(flat, data, 0, k=5, batch_size=16)
  assert full == neighbours.knn(flat, data, 1, k=5, batch_size=64)
  images, labels = features.features(flat, data.train, 16)
  assert (images.shape, images.dtype) == ((101, 12), np.float32)
  hidden = sources.Arrays(
    np.concatenate([data.train[np.arange(101)]["image"]] * 2),
    np.concatenate([labels, np.full(101, -1)]),
    data.train.classes,
  )
  assert full == neighbours.knn(flat, types.SimpleNamespace(train=hidden, test=data.test), 0, k=5)
  assert full["accuracy"] > 0.3


def test_nothing_is_encoded_twice():
  calls = []

  def encode(batch, layer=None, pool="mean"):
    calls.append((layer, pool))
    return flat(batch)

  data = types.SimpleNamespace(train=source(32), test=source(32))  # alike, and still two sources
  cached = features.Cached(encode)
  neighbours.knn(cached, data, 0, k=5, batch_size=32)
  neighbours.knn(cached, data, 1, k=7, batch_size=32)
  assert calls == [(None, "mean")] * 2
  neighbours.knn(cached, data, 0, k=5, batch_size=32, layer=1)
  assert calls[2:] == [(1, "mean")] * 2
  kept, _ = cached.features(data.train, 32, None, "mean")
  with pytest.raises(ValueError, match="read-only"):
    kept[0] = 0


@pytest.mark.parametrize(
  ("settings", "match"),
  [({"k": 0}, "1 to 20"), ({"k": 21}, "1 to 20"), ({"temperature": 0}, "above 0")],
)
def test_refuses(settings, match):
  data = types.SimpleNamespace(train=source(20), test=source(5))
  with pytest.raises(errors.InputError, match=match):
    neighbours.knn(flat, data, 0, **settings)


def test_refuses_what_cannot_be_compared():
  train, bare = source(20), sources.Arrays(np.zeros((5, 4, 3), np.uint8))
  with pytest.raises(features.NoLabels, match="test images have none"):
    neighbours.knn(flat, types.SimpleNamespace(train=train, test=bare), 0, k=5)
  with pytest.raises(errors.InputError, match="same classes"):
    neighbours.knn(flat, types.SimpleNamespace(train=train, test=source(9, classes=3)), 0, k=5)
  broken = lambda batch, **_: flat(batch) * np.nan
  with pytest.raises(errors.InputError, match="not finite"):
    neighbours.knn(broken, types.SimpleNamespace(train=train, test=train), 0, k=5)
