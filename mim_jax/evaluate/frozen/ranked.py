"""Image retrieval by class. Letters: n training images, q queries, e feature width."""

import jax.numpy as jnp
import numpy as np

from mim_jax.evaluate import features, numbers
from mim_jax.evaluate.frozen import neighbours

CHUNK = 2**26  # pairs whose similarities are computed at a time


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
) -> dict[str, numbers.Number]:
  """Measures mAP and precision at 1 of test images as queries of the training images.

  pool, layer, last, size: of the features, see network.Encoder.
  batch_size: of encoding.

  All training images are ranked by cosine similarity; those of the query's class are relevant.
  Precision is averaged over the ranks of the relevant ones (no interpolation), then over queries
  whose class the training images have. NoLabels where there are none. Deterministic.
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
  precision, first = (np.mean(np.concatenate(x)) for x in (precision, first))
  return numbers.fractions({"map": precision, "precision_at_1": first})


def average_precision(right: np.ndarray) -> np.ndarray:
  """Averages precision over the ranks of relevant entries: bool [q n] -> [q]."""
  ranks = np.arange(1, right.shape[1] + 1)
  share = np.cumsum(right, 1) / ranks[None]
  return (share * right).sum(1) / right.sum(1)
