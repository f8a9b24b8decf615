"""Multinomial logistic regression on frozen features. Letters: n images, e feature width."""

import numpy as np

from mim_jax.errors import InputError
from mim_jax.evaluate import features

FEW = (
  1000  # with fewer labels than this one held-out part is too noisy, and every part takes its turn
)
SMALL = (
  2**23
)  # numbers; below, BLAS threads that wait for each other on busy cores cost up to 50 times


def linear_probe(
  encode,
  data,
  seed,
  *,
  per_class: int | None = None,
  strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
  validation: float = 0.2,
  pool: str = "mean",
  layer: int | None = None,
  batch_size: int = 256,
) -> dict[str, float]:
  """Top-1 accuracy in [0, 1] of a linear classifier on features standardised over training images.

  The inverse penalty is chosen among `strengths` on a share `validation` of the training labels (by
  cross-validation where labels are few), then the classifier is fitted to all of them. Test labels
  are looked at once, at the end. With `per_class`, `seed` draws so many labelled images a class.
  """
  train, labels, test, truth = features.labelled(encode, data, batch_size, layer, pool)
  mean, deviation = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
  deviation[deviation < 1e-6] = 1.0  # a constant feature says nothing and must not be blown up
  if per_class is not None:
    drawn = draw(labels, per_class, seed, data.train.classes)
    train, labels = train[drawn], labels[drawn]
  train, test = (train - mean) / deviation, (test - mean) / deviation
  import sklearn.linear_model  # noqa: F401 - late, as it is heavy; before the limits, to be limited
  import threadpoolctl

  with threadpoolctl.threadpool_limits(1 if train.size < SMALL else None):
    strength = choose(train, labels, seed, strengths, validation)
    return {"accuracy": float(_classifier(strength).fit(train, labels).score(test, truth))}


def draw(labels, per_class: int, seed: int, classes=()) -> np.ndarray:
  """Indices of `per_class` images of each class that occurs in labels [n], sorted.

  InputError where a class has fewer, or where nothing would be left to choose the strength with.
  """
  if per_class < 2:
    raise InputError(
      f"per_class = {per_class}, but it must be 2 or more: part of the labels chooses the penalty"
    )
  random = np.random.default_rng(seed)
  present, counts = np.unique(labels, return_counts=True)
  drawn = []
  for label, count in zip(present, counts, strict=True):
    if count < per_class:
      name = classes[label] if label < len(classes) else label
      raise InputError(
        f"per_class = {per_class}, but class {name!r} has only {count} labelled training images. "
        f"Allowed: 2 to {counts.min()}."
      )
    drawn.append(random.choice(np.flatnonzero(labels == label), per_class, replace=False))
  return np.sort(np.concatenate(drawn))


def choose(
  train, labels, seed: int, strengths: tuple[float, ...], validation: float = 0.2
) -> float:
  """The strength with the best held-out accuracy; among equals the one that penalises most."""
  if not strengths or min(strengths) <= 0 or not 0 < validation <= 0.5:
    raise InputError(
      f"linear probe: strengths = {strengths}, validation = {validation}. Strengths must be above "
      "0, at least one, and validation above 0 and at most 0.5."
    )
  path = sorted(strengths)
  if len(path) == 1:
    return path[0]
  fold = folds(labels, seed, max(2, round(1 / validation)))
  held_out = range(fold.max() + 1) if len(labels) < FEW else range(1)
  accuracy = np.mean([_sweep(train, labels, fold == i, path) for i in held_out], 0)
  return path[int(np.argmax(accuracy))]


def folds(labels, seed: int, count: int) -> np.ndarray:
  """A part in [0, count) for each of labels [n]; every class is spread over the parts evenly."""
  shuffled = np.random.default_rng(seed).random(len(labels))
  part = np.empty(len(labels), int)
  part[np.lexsort((shuffled, labels))] = np.arange(len(labels)) % count
  return part


def _sweep(train, labels, out, path) -> list[float]:
  """Accuracies on the entries `out` [n] for each strength; every fit starts from the one before."""
  classifier = _classifier(path[0], warm_start=True)
  scores = []
  for strength in path:
    classifier.set_params(C=strength).fit(train[~out], labels[~out])
    scores.append(classifier.score(train[out], labels[out]))
  return scores


def _classifier(strength: float, **settings):
  from sklearn import linear_model  # late: it takes a second to import

  return linear_model.LogisticRegression(C=strength, max_iter=10_000, **settings)
