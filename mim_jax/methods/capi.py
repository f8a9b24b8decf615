"""Predict to which cluster a teacher's tokens belong (CAPI, arXiv 2502.08769). Letters as in core;
k prototypes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from mim_jax.core import Outcome, Step, take, weighted_mean


def predict_clusters(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  mask: Callable,
  assign: Callable,
  loss: Callable,
) -> Outcome:
  """Predicts the clusters of a teacher's tokens, and clusters them; the losses share no parameter.

  entry: of the batch, which the EMA teacher sees whole. `parts.clusters` gives logits of its patch
  tokens, `assign` balances them, which gives the targets of both. `parts.head` gives the student's.
  """
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  drawn = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b g m]
  latents = teachers.ema.encoder(teachers.ema.tokenizer(batch[entry]))
  logits = parts.clusters(lax.stop_gradient(latents.values))  # [b n k]
  counted = () if tokens.valid is None else (balanced(tokens.valid),)  # of [b n]
  assigned = lax.stop_gradient(assign(logits, *counted))  # [b n k], distributions
  predictions = parts.head(parts.predictor(parts.encoder(tokens, drawn), drawn))  # [b g m k]
  targets = take(assigned, drawn.masked)  # [b g m k]
  prediction = weighted_mean(loss(predictions, targets), drawn.weight)
  clustering = mean(loss(logits[:, None], assigned[:, None])[:, 0], tokens.valid)
  entropy = mean(jnp.sum(jax.scipy.special.entr(assigned), -1), tokens.valid)
  metrics = dict(prediction=prediction, clustering=clustering, target_entropy=entropy)
  return Outcome(prediction + clustering, metrics, drawn, predictions, targets)


def balanced(valid):
  """Weighs tokens in the balance of clusters [b n]: real ones; all of a place without."""
  return (valid | ~jnp.any(valid, 0, keepdims=True)).astype(jnp.float32)


def mean(values, valid):
  """Averages [b n] over the real tokens."""
  return jnp.mean(values) if valid is None else weighted_mean(values, valid.astype(jnp.float32))
