"""Meters, retrieval, robustness, outliers: on features whose numbers are known."""

import types

import numpy as np
import pytest
from sklearn import datasets, linear_model, metrics, preprocessing

from mim_jax import errors
from mim_jax.data.image import sources
from mim_jax.evaluate.frozen import corrupted, logistic, ranked, representation


def spots(n, seed, classes=4):
  """Images of 8 x 8 with a bright quarter, which is the class."""
  random = np.random.default_rng(seed)
  label = np.arange(n) % classes
  image = random.integers(0, 40, (n, 2, 4, 2, 4))
  image[np.arange(n), label // 2, :, label % 2] += 200
  return sources.Arrays(image.reshape(n, 8, 8).astype(np.uint8), label, tuple("abcd"[:classes]))


@pytest.fixture(scope="module")
def data():
  return types.SimpleNamespace(train=spots(80, 0), test=spots(40, 1))


def flat(batch, layer=None, pool="mean"):
  return batch["image"].reshape(len(batch["image"]), -1).astype(np.float32) + 1


def same(batch, layer=None, pool="mean"):
  noise = np.random.default_rng(0).normal(size=(len(batch["image"]), 8)) * 1e-4
  return (np.ones(8) + noise).astype(np.float32)


def test_meters_tell_order_from_collapse(data):
  good, bad = (representation.meters(encode, data, 0, restarts=2) for encode in (flat, same))
  assert good["nmi"] == good["cluster_accuracy"] == good["entropy"] == pytest.approx(1.0)
  assert bad["nmi"] < 0.5
  assert bad["deviation"] < 0.01 < 0.3 < good["deviation"]
  assert bad["rank_me"] < 1.1 < 4 < good["rank_me"] < 40
  bare = types.SimpleNamespace(test=sources.Arrays(data.test[np.arange(40)]["image"]))
  assert set(representation.meters(flat, bare, 0, clusters=4)) == {
    "rank_me",
    "deviation",
    "entropy",
  }
  with pytest.raises(errors.InputError, match="clusters = 41, but it must lie in 2 to 40"):
    representation.meters(flat, data, 0, clusters=41)


def test_average_precision_is_scikit_learns(data):
  random = np.random.default_rng(0)
  right = random.random((30, 50)) < 0.2
  scores = np.arange(50, 0, -1)
  expected = [metrics.average_precision_score(row, scores) for row in right]
  np.testing.assert_allclose(ranked.average_precision(right), expected)


def test_retrieval_finds_what_is_alike(data):
  assert ranked.retrieval(flat, data, 0) == {"map": 1.0, "precision_at_1": 1.0}
  chance = ranked.retrieval(same, data, 0)
  assert chance["map"] < 0.5
  chunked = spots(80, 0)
  assert ranked.CHUNK // len(chunked) > 1


def test_robustness_falls_with_the_corruption(data):
  found = corrupted.robustness(flat, data, 0, k=5, kinds=("contrast", "impulse_noise"))
  assert found["clean"] == 1.0
  assert found["corrupted"] == pytest.approx((found["contrast"] + found["impulse_noise"]) / 2)
  assert found["impulse_noise"] > 0.7
  linear = corrupted.robustness(
    flat, data, 0, classifier="linear", kinds=("impulse_noise",), severities=(1,)
  )
  assert linear["impulse_noise"] > 0.9
  with pytest.raises(errors.InputError, match="'knm' is unknown; did you mean 'knn'"):
    corrupted.robustness(flat, data, 0, classifier="knm")


def test_outliers_are_far(data):
  found = corrupted.outliers(flat, data, 0, k=3, kinds=("gaussian_noise",), held_out=0.25)
  assert found["classes"] == 1.0  # a class that was never seen lies apart
  assert found["gaussian_noise"] == 1.0
  assert 0.3 < found["rotated"] < 0.7  # upside down, a quarter is another quarter
  nothing = corrupted.outliers(same, data, 0, k=3, kinds=())
  assert 0.2 < nothing["classes"] < 0.8
  other = corrupted.outliers(flat, data, 0, k=3, kinds=(), other=lambda: spots(20, 7))
  assert 0.3 < other["other"] < 0.7
  with pytest.raises(errors.InputError, match="k = 81, but it must lie in 1 to 80"):
    corrupted.outliers(flat, data, 0, k=81)


def test_distance_is_to_the_kth_neighbour():
  random = np.random.default_rng(0)
  bank, queries = random.normal(size=(40, 6)), random.normal(size=(9, 6))
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  away = np.linalg.norm(unit(queries)[:, None] - unit(bank)[None], axis=-1)
  found = corrupted.distances(bank.astype(np.float32), queries.astype(np.float32), 7)
  np.testing.assert_allclose(found, np.sort(away, 1)[:, 6], rtol=1e-4)


def test_linear_predictions_are_scikit_learns():
  digits = datasets.load_digits()
  train, test, labels = digits.data[:600], digits.data[600:], digits.target[:600]
  predict = logistic.predictor("linear", train, labels, 1, 1.0, 0.05)
  scaler = preprocessing.StandardScaler().fit(train)
  classifier = linear_model.LogisticRegression(C=0.05, max_iter=10_000)
  expected = classifier.fit(scaler.transform(train), labels).predict(scaler.transform(test))
  np.testing.assert_array_equal(predict(test), expected)


def test_few_labels_by_share():
  labels = np.repeat([0, 1, 2], [100, 40, 10])
  assert np.bincount(labels[logistic.few(labels, 0, share=0.1)]).tolist() == [10, 4, 2]
  assert len(logistic.few(labels, 0)) == 150
  assert (logistic.few(labels, 0, share=0.1) != logistic.few(labels, 1, share=0.1)).any()
