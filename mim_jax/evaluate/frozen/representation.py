"""Metrics of representations. Letters: n images, e feature width, k clusters."""

import jax
import numpy as np

from mim_jax.errors import InputError
from mim_jax.evaluate import features, numbers
from mim_jax.ops import collapse


def meters(
  encode,
  data,
  seed,
  *,
  clusters: int = 0,
  restarts: int = 10,
  pool: str = "mean",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  batch_size: int = 256,
) -> dict[str, numbers.Number]:
  """Measures RankMe, std and k-means of the test features: cluster entropy, NMI, accuracy.

  clusters: k; 0 for the number of classes, or 10.
  restarts: of k-means.
  pool, layer, last, size: of the features, see network.Encoder.
  batch_size: of encoding.

  rank_me: 1 to min(n, e), arXiv 2210.02885, on up to 256 images drawn by `seed`. deviation: the std
  of unit vectors, 1 where even, 0 where collapsed. entropy: of the sizes of the clusters, over
  log k. Where there are labels, nmi (arithmetic) and cluster_accuracy (clusters named by the best
  one to one match with the classes), in [0, 1].
  """
  where = dict(layer=layer, pool=pool, last=last, size=size)
  values, labels = features.features(encode, data.test, batch_size, **where)
  k = clusters or len(data.test.classes) or 10
  if not 1 < k <= len(values):
    raise InputError(f"meters: clusters = {k}, but it must lie in 2 to {len(values)}, the images.")
  drawn = np.random.default_rng(seed).permutation(len(values))[: collapse.ENOUGH]
  found: dict[str, numbers.Number] = dict(
    rank_me=numbers.Number(jax.jit(collapse.rank_me)(values[drawn]), ""),
    deviation=numbers.Number(jax.jit(collapse.feature_std)(values), ""),
  )
  cluster = clustered(values, k, seed, restarts)
  shares = np.bincount(cluster, minlength=k) / len(cluster)
  entropy = collapse.entropy(jax.numpy.asarray(shares, "float32")) / np.log(k)
  found["entropy"] = numbers.Number(entropy, "")
  known = labels >= 0
  if known.any():
    found |= numbers.fractions(agreement(cluster[known], labels[known]))
  return found


def clustered(values: np.ndarray, k: int, seed: int, restarts: int) -> np.ndarray:
  """Assigns each row of values [n e] to one of k clusters, by k-means on unit vectors."""
  from sklearn import cluster  # late: it takes a second to import

  length = np.linalg.norm(values, axis=1, keepdims=True)
  unit = values / np.maximum(length, 1e-12)
  return cluster.KMeans(k, n_init=restarts, random_state=seed).fit_predict(unit)


def agreement(cluster: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Computes nmi, and cluster_accuracy by the best one to one match, of clusters and labels [n]."""
  from scipy import optimize
  from sklearn import metrics

  table = metrics.cluster.contingency_matrix(labels, cluster)
  rows, columns = optimize.linear_sum_assignment(table, maximize=True)
  return dict(
    nmi=float(metrics.normalized_mutual_info_score(labels, cluster)),
    cluster_accuracy=float(table[rows, columns].sum() / len(labels)),
  )
