"""A teacher that looks first and says where it is hard (HPM). Letters as in core."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mim_jax.core import Step, split, take, weighted_mean


def hard_patches(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  mask: Callable,
  target: Callable,
  loss: Callable,
  ranking: Callable,
  weight: float = 1.0,
  signal: str = "image",
):
  """Masks what the slow copy guesses to be hard; the student learns to predict and to guess.

  The predictor has `scores` (predictors.Ranked). ranking: (scores, losses, weights) -> (costs,
  their weights), and counts `weight` times. Source: HPM (arXiv 2304.05919), algorithm 1.
  """
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  guide = difficulty(teachers.ema, batch[signal])  # [b n]
  drawn = mask(step.key, tokens, guide, step.progress)  # visible [b v], masked [b g m]
  latents = parts.encoder(tokens, drawn)  # [b v d]
  predictions = parts.predictor(latents, drawn)  # [b g m e]
  losses = loss(predictions, take(target(batch, teachers), drawn.masked))  # [b g m]
  _, scores = parts.predictor.scores(latents, drawn)  # [b g m]
  prediction = weighted_mean(losses, drawn.weight)
  order = weighted_mean(*ranking(scores, jax.lax.stop_gradient(losses), drawn.weight))
  return prediction + weight * order, {"prediction": prediction, "ranking": order}


def difficulty(network, signal):
  """How large a network, seeing all, guesses the loss of each token to be: [b n], no gradient."""
  tokens = network.tokenizer(signal)
  b, n = tokens.positions.shape[:2]
  every = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), (b, n))
  scores, _ = network.predictor.scores(network.encoder(tokens), split(tokens, every, every[:, :0]))
  return jax.lax.stop_gradient(scores[:, 0])
