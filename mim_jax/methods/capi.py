"""Predict to which cluster a teacher's tokens belong (CAPI, arXiv 2502.08769). Letters as in core;
k prototypes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from mim_jax.core import Step, take, weighted_mean


def predict_clusters(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  mask: Callable,
  assign: Callable,
  loss: Callable,
  signal: str = "image",
):
  """Two losses that share no parameter: the student predicts, the teacher's tokens are clustered.

  The slow copy sees the whole image; `parts.clusters` scores its patch tokens; `assign` balances
  the scores, which gives the targets of both. `parts.head` scores the student's predictions.
  """
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  mask = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b g m]
  latents = teachers.ema.encoder(teachers.ema.tokenizer(batch[signal]))
  scores = parts.clusters(lax.stop_gradient(latents.values))  # [b n k]
  assigned = lax.stop_gradient(assign(scores))  # [b n k], distributions
  predictions = parts.head(parts.predictor(parts.encoder(tokens, mask), mask))  # [b g m k]
  prediction = weighted_mean(loss(predictions, take(assigned, mask.masked)), mask.weight)
  clustering = jnp.mean(loss(scores[:, None], assigned[:, None]))
  entropy = jnp.mean(jnp.sum(jax.scipy.special.entr(assigned), -1))
  metrics = dict(prediction=prediction, clustering=clustering, target_entropy=entropy)
  return prediction + clustering, metrics
