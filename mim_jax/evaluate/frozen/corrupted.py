"""Robustness to corrupted images, and detection of outliers.

Letters: n training images, q queries, e feature width.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from mim_jax.data.image import noise
from mim_jax.errors import InputError
from mim_jax.evaluate import features, numbers
from mim_jax.evaluate.frozen import logistic, neighbours

KINDS = tuple(noise.SEVERITIES)


@features.deterministic
def robustness(
  encode,
  data,
  seed,
  *,
  classifier: str = "knn",
  kinds: tuple[str, ...] = KINDS,
  severities: tuple[int, ...] = (1, 2, 3, 4, 5),
  k: int = 20,
  temperature: float = 0.07,
  strength: float = 0.01,
  pool: str = "mean",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  batch_size: int = 256,
) -> dict[str, numbers.Number]:
  """Measures top-1 accuracy in [0, 1] on corrupted test images, of a classifier of clean ones.

  classifier: "knn" or "linear" (logistic regression).
  kinds, severities: of corruptions.
  k, temperature: of "knn".
  strength: inverse penalty of "linear".
  pool, layer, last, size: of the features, see network.Encoder.
  batch_size: of encoding.

  Returns `clean`, each kind as the mean over its severities, and `corrupted`, the mean over kinds.
  Deterministic: noise depends on kind, severity and number of the image alone. Source: arXiv
  1903.12261, section 4.
  """
  where = dict(layer=layer, pool=pool, last=last, size=size)
  bank, labels, test, truth = features.labelled(encode, data, batch_size, **where)
  predict = logistic.predictor(classifier, bank, labels, k, temperature, strength)
  found = {"clean": float(np.mean(predict(test) == truth))}
  for kind in kinds:
    shares = []
    for severity in severities:
      changed = noise.Corrupted(data.test, kind, severity)
      values, label = features.features(features.uncached(encode), changed, batch_size, **where)
      known = label >= 0
      shares.append(np.mean(predict(values[known]) == label[known]))
    found[kind] = float(np.mean(shares))
  found["corrupted"] = float(np.mean([found[kind] for kind in kinds]))
  return numbers.fractions(found)


def outliers(
  encode,
  data,
  seed,
  *,
  k: int = 10,
  held_out: float = 0.3,
  kinds: tuple[str, ...] = ("gaussian_noise", "contrast"),
  severity: int = 5,
  other: Callable | None = None,
  pool: str = "mean",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  batch_size: int = 256,
) -> dict[str, numbers.Number]:
  """Measures AUROC in [0, 1], 0.5 by chance, of detecting outliers by their k-NN distance.

  k: the distance is that to the k-th nearest training image.
  held_out: fraction of the classes, drawn by `seed`, that is taken from the training images.
  kinds, severity: of corruptions.
  other: another source (a config node), None without one.
  pool, layer, last, size: of the features, see network.Encoder.
  batch_size: of encoding.

  Distances are of unit vectors (Sun et al., arXiv 2204.06507). Inliers are the test images;
  outliers are `classes`, those held out (where there are labels); `rotated`, images upside down;
  each of `kinds`; and `other`, if given.
  """
  read = functools.partial(
    features.features, batch_size=batch_size, layer=layer, pool=pool, last=last, size=size
  )
  (bank, labels), (test, truth) = read(encode, data.train), read(encode, data.test)
  strange: dict = {"rotated": Rotated(data.test)}
  strange |= {kind: noise.Corrupted(data.test, kind, severity) for kind in kinds}
  if other is not None:
    strange["other"] = other()
  usual = distances(bank, test, k)
  found = {
    name: auroc(usual, distances(bank, read(features.uncached(encode), source)[0], k))
    for name, source in strange.items()
  }
  present = np.unique(labels[labels >= 0])
  if len(present) > 2 and (truth >= 0).any():
    count = min(len(present) - 1, max(1, round(held_out * len(present))))
    out = np.random.default_rng(seed).choice(present, count, replace=False)
    away = distances(bank[~np.isin(labels, out)], test[truth >= 0], k)
    apart = np.isin(truth[truth >= 0], out)
    found["classes"] = auroc(away[~apart], away[apart])
  return numbers.fractions(found)


class Rotated(noise.Corrupted):
  """Turns the images of a source upside down: a Source."""

  def __init__(self, source):
    """Wraps a source."""
    self.source, self.kind, self.severity = source, "rotated", 0
    self.classes = source.classes

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """See sources.Source."""
    batch = self.source[indices]
    image = np.zeros_like(batch["image"])
    for to, place, (h, w) in zip(image, batch["image"], batch["size"], strict=True):
      to[:h, :w] = place[:h, :w][::-1, ::-1]
    return {**batch, "image": image}


def distances(bank: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
  """Computes k-th nearest neighbour distances [q] of queries [q e] in bank [n e], unit vectors."""
  if not 0 < k <= len(bank):
    raise InputError(f"outliers: k = {k}, but it must lie in 1 to {len(bank)}, the images known.")
  bank = np.asarray(neighbours.unit(jnp.asarray(bank)))
  queries = np.asarray(neighbours.unit(jnp.asarray(queries)))
  step, found = max(1, 2**26 // len(bank)), []
  for start in range(0, len(queries), step):
    similar = queries[start : start + step] @ bank.T
    nearest = np.partition(similar, len(bank) - k, axis=1)[:, len(bank) - k]
    found.append(np.sqrt(np.maximum(2 - 2 * nearest, 0.0)))
  return np.concatenate(found)


def auroc(usual: np.ndarray, strange: np.ndarray) -> float:
  """Computes the AUROC of scores of inliers [n] and outliers [q]; ties count half."""
  from sklearn import metrics  # late: it takes a second to import

  truth = np.concatenate([np.zeros(len(usual)), np.ones(len(strange))])
  return float(metrics.roc_auc_score(truth, np.concatenate([usual, strange])))
