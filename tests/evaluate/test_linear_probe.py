"""The linear probe: what it chooses by, what it never sees, how it draws."""

import types

import numpy as np
import pytest
from sklearn import datasets

from mim_jax import errors
from mim_jax.data.image import sources
from mim_jax.evaluate.frozen import logistic


def digits():
  found = datasets.load_digits()
  image, label = found.images.astype(np.uint8)[..., None], found.target
  classes = tuple(map(str, range(10)))
  return types.SimpleNamespace(
    train=sources.Arrays(image[:1437], label[:1437], classes),
    test=sources.Arrays(image[1437:], label[1437:], classes),
  )


def flat(batch, layer=None, pool="mean"):
  return batch["image"].reshape(len(batch["image"]), -1).astype(np.float32)


def test_digits():
  data = digits()
  every = logistic.linear_probe(flat, data, 0)["accuracy"]
  few = logistic.linear_probe(flat, data, 0, per_class=10)["accuracy"]
  assert 0.88 < every < 0.95  # the last fifth of the digits was written by other people
  assert 0.7 < few < every
  assert few == logistic.linear_probe(flat, data, 0, per_class=10)["accuracy"]
  assert few != logistic.linear_probe(flat, data, 1, per_class=10)["accuracy"]


def test_features_are_standardised_by_the_training_images():
  data = digits()
  scaled = lambda batch, layer=None, pool="mean": flat(batch) * 1000 - 7
  plain = logistic.linear_probe(flat, data, 0, strengths=(0.1,))
  assert logistic.linear_probe(scaled, data, 0, strengths=(0.1,)) == pytest.approx(plain, abs=0.01)


def test_test_labels_choose_nothing(monkeypatch):
  data, chosen = digits(), []
  choose = logistic.choose
  monkeypatch.setattr(logistic, "choose", lambda *a: chosen.append(choose(*a)) or chosen[-1])
  shuffled = np.random.default_rng(0).permutation(data.test[np.arange(len(data.test))]["label"])
  mixed = sources.Arrays(data.test[np.arange(len(data.test))]["image"], shuffled, data.test.classes)
  right = logistic.linear_probe(flat, data, 0, per_class=5)
  wrong = logistic.linear_probe(
    flat, types.SimpleNamespace(train=data.train, test=mixed), 0, per_class=5
  )
  assert chosen[0] == chosen[1]
  assert wrong["accuracy"] < 0.3 < right["accuracy"]


def test_draws_so_many_of_each_class():
  labels = np.repeat([0, 1, 2], [5, 9, 30])
  drawn = logistic.draw(labels, 4, 0)
  np.testing.assert_array_equal(np.bincount(labels[drawn]), [4, 4, 4])
  assert len(set(drawn.tolist())) == 12
  np.testing.assert_array_equal(drawn, logistic.draw(labels, 4, 0))
  assert (drawn != logistic.draw(labels, 4, 1)).any()
  with pytest.raises(errors.InputError, match=r"class 'cat' has only 5 .* 2 to 5"):
    logistic.draw(labels, 6, 0, ("cat", "dog", "eel"))
  with pytest.raises(errors.InputError, match="2 or more"):
    logistic.draw(labels, 1, 0)


def test_folds_spread_every_class():
  labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 20, 30]))
  fold = logistic.folds(labels, 0, 5)
  for i in range(5):
    np.testing.assert_array_equal(np.bincount(labels[fold == i]), [2, 4, 6])


def test_chooses_a_strong_penalty_for_noise_and_a_weak_one_for_signal():
  random = np.random.default_rng(0)
  labels = np.arange(300) % 2
  noise = random.normal(size=(300, 200)) + 0.3 * (labels[:, None] - 0.5)
  signal = np.stack([0.1 * labels + 0.02 * random.normal(size=300), random.normal(size=300)], 1)
  assert logistic.choose(noise, labels, 0, (1e3, 1e-3)) == 1e-3
  assert logistic.choose(signal, labels, 0, (1e3, 1e-3)) == 1e3


@pytest.mark.parametrize(
  "settings", [{"strengths": ()}, {"strengths": (0.0,)}, {"validation": 0.9}]
)
def test_refuses(settings):
  with pytest.raises(errors.InputError, match="Strengths must be above 0"):
    logistic.linear_probe(flat, digits(), 0, **settings)
