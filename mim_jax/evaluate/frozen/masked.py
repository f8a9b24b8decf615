"""Masked token prediction on held-out samples. Letters: b batch, n tokens, k ids."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax.errors import InputError
from mim_jax.evaluate import features, network
from mim_jax.evaluate.numbers import Number


@features.deterministic
def masked_tokens(
  encode,
  data,
  seed,
  *,
  entry: str,
  masked_id: int,
  vocabulary: int,
  every: int = 8,
  samples: int = 512,
  batch_size: int = 128,
) -> dict[str, Number]:
  """Measures accuracy and pseudo-perplexity of predicting hidden ids [b n] of test samples.

  entry: of the batch, the ids.
  masked_id: that stands in for hidden tokens.
  vocabulary: k.
  every: passes, each of which hides every n-th token, so that each is hidden once.
  samples: test samples at most, evenly spread.
  batch_size: of prediction.

  `accuracy` is the fraction of all tokens whose likeliest id is the true one, in [0, 1], and
  `pseudo_perplexity` the exponential of the mean cross-entropy of the true id, in ids. With every =
  n it is that of Salazar et al. (arXiv 1910.14659), which hides one token at a time. Without a
  network ids are predicted by their frequency in the training samples. Deterministic.
  """
  if every < 2:
    raise InputError(
      f"masked_tokens: every = {every} would hide all tokens at once. Give 2 or more."
    )
  rows = np.linspace(0, len(data.test) - 1, min(samples, len(data.test))).astype(int)
  try:
    net = network.unwrap(encode)
  except network.NoNetwork:
    return in_numbers(*by_frequency(data, rows, entry, vocabulary))
  if "head" not in net.variables["params"]:
    raise network.NoNetwork("predicts ids, and this network has no head")
  how: dict[str, Any] = dict(entry=entry, masked_id=masked_id, every=every)
  compiled = jax.jit(functools.partial(one_batch, net.program, **how))
  one = net.program.compiled.setdefault(("masked_tokens", *how.values()), compiled)
  totals = np.zeros(3)
  for start in range(0, len(rows), batch_size):
    batch = data.test[np.resize(rows[start : start + batch_size], min(batch_size, len(rows)))]
    real = np.arange(len(batch[entry])) < len(rows) - start
    totals += np.asarray(one(net.variables, batch, real), np.float64)
  return in_numbers(*totals)


def in_numbers(right: float, error: float, count: float) -> dict[str, Number]:
  """Turns sums over all tokens into numbers."""
  if not count:
    raise InputError("masked_tokens: the test samples have no token. Give others.")
  perplexity = Number(float(np.exp(error / count)), "perplexity")
  return {"accuracy": Number(right / count), "pseudo_perplexity": perplexity}


def one_batch(program, variables, batch, real, *, entry: str, masked_id: int, every: int):
  """Sums over the real tokens of real samples: (correct ones, cross-entropy, count)."""
  batch = program.view(batch)
  ids = batch[entry]
  exists = (ids >= 0) & jnp.asarray(real)[:, None]
  place = jnp.arange(ids.shape[1], dtype=jnp.int32)[None] % every

  def run(parts, given):
    latents = program.encode(parts, {**batch, entry: given})
    return parts.head(latents.values, getattr(parts.tokenizer, "table", None))

  def hide(turn):
    hidden = (place == turn) & exists
    given = jnp.where(hidden, jnp.asarray(masked_id, ids.dtype), ids)
    logits = program.parts.apply(variables, method=lambda parts: run(parts, given))
    true = jnp.take_along_axis(logits, jnp.maximum(ids, 0)[..., None], -1)[..., 0]
    error = jax.nn.logsumexp(logits, -1) - true
    right = (jnp.argmax(logits, -1) == ids) & hidden
    return jnp.stack(
      [
        jnp.sum(right, dtype=jnp.float32),
        jnp.sum(jnp.where(hidden, error, 0.0)),
        jnp.sum(hidden, dtype=jnp.float32),
      ]
    )

  return jnp.sum(jax.lax.map(hide, jnp.arange(every, dtype=jnp.int32)), 0)


def by_frequency(data, rows, entry: str, vocabulary: int) -> tuple[float, float, int]:
  """Sums the errors of predicting ids by their frequency in training, each counted once more."""
  counts = np.ones(vocabulary)
  for start in range(0, len(data.train), 1024):
    ids = np.asarray(data.train[np.arange(start, min(start + 1024, len(data.train)))][entry])
    counts += np.bincount(ids[ids >= 0].ravel(), minlength=vocabulary)
  ids = np.asarray(data.test[rows][entry])
  ids = ids[ids >= 0]
  error = -np.log(counts / counts.sum())[ids].sum()
  return float((ids == counts.argmax()).sum()), float(error), ids.size
