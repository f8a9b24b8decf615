"""Multinomial logistic regression on frozen features. Letters: n images, e feature width."""

from collections.abc import Callable

import numpy as np

from mim_jax.errors import InputError, unknown
from mim_jax.evaluate import features, numbers
from mim_jax.evaluate.frozen import neighbours

FEW = 1000  # labels; with fewer, one held-out part is too noisy: cross-validation instead
SMALL = 2**23  # numbers; below, BLAS threads waiting for each other on busy cores cost up to 50 x


def linear_probe(
  encode,
  data,
  seed,
  *,
  per_class: int | None = None,
  share: float = 1.0,
  strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
  validation: float = 0.2,
  pool: str = "mean",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  batch_size: int = 256,
) -> dict[str, numbers.Number]:
  """Measures top-1 accuracy in [0, 1] of logistic regression on standardised frozen features.

  per_class: labelled images a class that `seed` draws; None for all.
  share: fraction of each class that `seed` draws instead.
  strengths: inverse penalties, of which one is chosen.
  validation: fraction of the training labels that chooses it.
  pool, layer, last, size: of the features, see network.Encoder.
  batch_size: of encoding.

  Features are standardised over all training images. The inverse penalty is chosen on held-out
  training labels (by cross-validation where labels are few), then the classifier is fitted to all
  of them. Test labels are used once, at the end.
  """
  where = dict(last=last, size=size)
  train, labels, test, truth = features.labelled(encode, data, batch_size, layer, pool, **where)
  standard = standardised(train)
  drawn = few(labels, seed, per_class, share, data.train.classes)
  train, labels = train[drawn], labels[drawn]
  train, test = standard(train), standard(test)
  import sklearn.linear_model  # noqa: F401 - late, as it is heavy; before the limits, to be limited
  import threadpoolctl

  with threadpoolctl.threadpool_limits(1 if train.size < SMALL else None):
    strength = choose(train, labels, seed, strengths, validation)
    return {"accuracy": numbers.Number(_classifier(strength).fit(train, labels).score(test, truth))}


def standardised(train: np.ndarray) -> Callable:
  """Makes the function that standardises features [n e] to mean 0 and std 1 over `train`."""
  mean, std = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
  std[std < 1e-6] = 1.0  # a constant feature says nothing and must not be blown up
  return lambda values: (values - mean) / std


def predictor(kind: str, bank, labels, k: int, temperature: float, strength: float) -> Callable:
  """Fits a classifier: predict(features [q e]) -> classes [q].

  kind: "knn" (k, temperature) or "linear" (strength).
  bank: features [n e] with labels [n]. "linear" is fitted to standardised features.
  """
  if kind == "knn":
    return lambda values: neighbours.vote(bank, labels, values, k, temperature)
  if kind != "linear":
    raise unknown("classifier", kind, ("knn", "linear"))
  import sklearn.linear_model  # noqa: F401 - see `linear_probe`
  import threadpoolctl

  standard = standardised(bank)
  with threadpoolctl.threadpool_limits(1 if bank.size < SMALL else None):
    classifier = _classifier(strength).fit(standard(bank), labels)
  return lambda values: classifier.predict(standard(values))


def few(labels, seed: int, per_class: int | None = None, share: float = 1.0, classes=()):
  """Selects labels [n] to train on: sorted indices of all, `per_class` of each, or a `share`.

  A share is rounded, at least two images a class. InputError where a class has fewer, or where both
  are asked for.
  """
  if per_class is not None and share != 1.0:
    raise InputError(f"few labels: give per_class = {per_class} or share = {share}, not both.")
  if not 0 < share <= 1:
    raise InputError(f"share = {share}, but it must lie above 0 and at most at 1; 0.01 is usual.")
  if per_class is not None:
    return draw(labels, per_class, seed, classes)
  if share == 1.0:
    return np.arange(len(labels))
  counts = np.bincount(labels)
  wanted = np.maximum(2, np.round(share * counts)).astype(int) * (counts > 0)
  return draw(labels, wanted, seed, classes)


def draw(labels, per_class, seed: int, classes=()) -> np.ndarray:
  """Draws `per_class` images of each class that occurs in labels [n]: sorted indices.

  per_class: one number for all, or an array [classes]. InputError where a class has fewer, or where
  nothing would be left to choose the strength with.
  """
  present, counts = np.unique(labels, return_counts=True)
  wanted = np.broadcast_to(per_class, present[-1] + 1)[present]
  if wanted.min() < 2:
    raise InputError(
      f"per_class = {per_class}, but it must be 2 or more: part of the labels chooses the penalty"
    )
  random = np.random.default_rng(seed)
  drawn = []
  for label, count, number in zip(present, counts, wanted, strict=True):
    if count < number:
      name = classes[label] if label < len(classes) else label
      raise InputError(
        f"per_class = {number}, but class {name!r} has only {count} labelled training images. "
        f"Allowed: 2 to {counts.min()}."
      )
    drawn.append(random.choice(np.flatnonzero(labels == label), number, replace=False))
  return np.sort(np.concatenate(drawn))


def choose(
  train, labels, seed: int, strengths: tuple[float, ...], validation: float = 0.2
) -> float:
  """Chooses the strength of best held-out accuracy; among equals the one that penalises most."""
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
  """Assigns labels [n] to folds in [0, count), stratified: each class is spread evenly."""
  shuffled = np.random.default_rng(seed).random(len(labels))
  part = np.empty(len(labels), int)
  part[np.lexsort((shuffled, labels))] = np.arange(len(labels)) % count
  return part


def _sweep(train, labels, out, path) -> list[float]:
  """Measures accuracy on the entries `out` [n] for each strength; fits are warm-started."""
  classifier = _classifier(path[0], warm_start=True)
  scores = []
  for strength in path:
    classifier.set_params(C=strength).fit(train[~out], labels[~out])
    scores.append(classifier.score(train[out], labels[out]))
  return scores


def _classifier(strength: float, **settings):
  from sklearn import linear_model  # late: it takes a second to import

  return linear_model.LogisticRegression(C=strength, max_iter=10_000, **settings)
