"""k-NN classification of frozen features. Letters: n training images, q queries, e width."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax.errors import InputError
from mim_jax.evaluate import features, numbers


@features.deterministic
def knn(
  encode,
  data,
  seed,
  *,
  k: int = 20,
  temperature: float = 0.07,
  pool: str = "mean",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  batch_size: int = 256,
) -> dict[str, numbers.Number]:
  """Measures top-1 accuracy in [0, 1] of k-NN classification by cosine similarity.

  k: neighbours that vote.
  temperature: of their weights exp(similarity / temperature).
  pool, layer, last, size: of the features, see network.Encoder.
  batch_size: of encoding.

  DINO's protocol (eval_knn.py of its reference). Deterministic: `seed` changes nothing. InputError
  where there are fewer than k labelled training images; NoLabels where there are none.
  """
  where = dict(last=last, size=size)
  bank, labels, queries, truth = features.labelled(encode, data, batch_size, layer, pool, **where)
  predicted = vote(bank, labels, queries, k, temperature)
  return {"accuracy": numbers.Number(np.mean(predicted == truth))}


def vote(bank, labels, queries, k: int = 20, temperature: float = 0.07) -> np.ndarray:
  """Predicts classes [q] by weighted vote: bank [n e] with labels [n] from 0 on, queries [q e]."""
  if not 0 < k <= len(bank):
    raise InputError(
      f"knn: k = {k}, but it must lie in 1 to {len(bank)}, the labelled training images"
    )
  if temperature <= 0:
    raise InputError(f"knn: temperature = {temperature}, but it must be above 0 (DINO: 0.07)")
  # Similarities of a chunk take chunk x n floats: half a GB at most.
  chunk = max(1, min(1024, len(queries), 2**27 // len(bank)))
  classes = int(np.max(labels)) + 1
  bank, labels = unit(jnp.asarray(bank)), jnp.asarray(labels, jnp.int32)
  queries = unit(jnp.asarray(queries))
  return np.asarray(_vote(bank, labels, queries, temperature, k=k, classes=classes, chunk=chunk))


def unit(values: jax.Array) -> jax.Array:
  """Normalizes rows [n e] to length 1; a row of zeros is unchanged."""
  return values / jnp.maximum(jnp.linalg.norm(values, axis=1, keepdims=True), 1e-12)


@functools.partial(jax.jit, static_argnames=("k", "classes", "chunk"))
def _vote(bank, labels, queries, temperature, *, k, classes, chunk):
  def one(query):  # [e]
    similarity, nearest = jax.lax.top_k(jnp.matmul(bank, query, precision="highest"), k)
    # Relative to the nearest: the winner is the same, and a low temperature cannot overflow.
    weight = jnp.exp((similarity - similarity[0]) / temperature)
    return jnp.argmax(jnp.zeros(classes).at[labels[nearest]].add(weight))

  return jax.lax.map(one, queries, batch_size=chunk)
