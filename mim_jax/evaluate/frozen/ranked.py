"""Finding images of the same class. Letters: n images known, q queries, e feature width."""

import jax.numpy as jnp
import numpy as np

from mim_jax.evaluate import features
from mim_jax.evaluate.frozen import neighbours

CHUNK = 2**26  # numbers: similarities of so many pairs at a time


@features.deterministic
def retrieval(
  encode,
  data,
  seed,
  *,
  pool: str = "mean",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  batch_size: int = 256,
) -> dict[str, float]:
  """Mean average precision, and precision of the nearest, when test images ask for training images.

  All training images are ranked by cosine similarity; those of the query's class are right.
  Precision is averaged over the ranks of the right ones (no interpolation), then over queries whose
  class the training images have. NoLabels where there are none. Nothing is drawn.
  """
  where = dict(layer=layer, pool=pool, last=last, size=size)
  bank, labels, queries, truth = features.labelled(encode, data, batch_size, **where)
  bank, queries = (np.asarray(neighbours.unit(jnp.asarray(x))) for x in (bank, queries))
  precision, first = [], []
  for start in range(0, len(queries), max(1, CHUNK // len(bank))):
    here = slice(start, start + max(1, CHUNK // len(bank)))
    order = np.argsort(-(queries[here] @ bank.T), axis=1, kind="stable")
    right = labels[order] == truth[here, None]
    known = right.any(1)
    precision.append(average_precision(right[known]))
    first.append(right[:, 0])
  return {
    "map": float(np.mean(np.concatenate(precision))),
    "precision_at_1": float(np.mean(np.concatenate(first))),
  }


def average_precision(right: np.ndarray) -> np.ndarray:
  """Mean over the right entries of the share of right ones up to there: bool [q n] -> [q]."""
  ranks = np.arange(1, right.shape[1] + 1)
  share = np.cumsum(right, 1) / ranks[None]
  return (share * right).sum(1) / right.sum(1)
