"""Losses of a network that guesses how large other losses are. Letters: b, g groups, m masked."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def pairwise_order(
  scores: Float[Array, "b g m"], errors: Float[Array, "b g m"], weight: Float[Array, "b g m"]
) -> tuple[Array, Array]:
  """Whether scores order tokens as errors do: (mean over a token's pairs, its pairs), [b g m] each.

  A pair is two tokens of one group whose errors differ, each of weight 1 or 0; it costs -log
  sigmoid of how much higher the worse token scores. The mean weighted by pairs is that over all
  pairs of the batch. No gradient reaches `errors`. Source: HPM (arXiv 2304.05919), relative loss.
  """
  errors, scores = jax.lax.stop_gradient(errors), scores.astype(jnp.float32)
  worse = jnp.sign(errors[..., :, None] - errors[..., None, :])  # [b g m m]
  counts = weight[..., :, None] * weight[..., None, :] * jnp.abs(worse)
  gaps = scores[..., :, None] - scores[..., None, :]
  costs = -jax.nn.log_sigmoid(worse * gaps)
  pairs = jnp.sum(counts, -1)
  return jnp.sum(costs * counts, -1) / jnp.maximum(pairs, 1.0), pairs


def standardized_error(
  scores: Float[Array, "b g m"], errors: Float[Array, "b g m"], weight: Float[Array, "b g m"]
) -> tuple[Array, Array]:
  """How far scores are from errors in square, those standardised within a group: (cost, weight).

  No gradient reaches `errors`. Source: HPM (arXiv 2304.05919), its absolute loss, an ablation;
  unbiased variance plus 1e-6 as in its reference.
  """
  errors, scores = jax.lax.stop_gradient(errors), scores.astype(jnp.float32)
  count = jnp.sum(weight, -1, keepdims=True)
  centred = errors - jnp.sum(errors * weight, -1, keepdims=True) / jnp.maximum(count, 1.0)
  spread = jnp.sum(jnp.square(centred) * weight, -1, keepdims=True) / jnp.maximum(count - 1, 1.0)
  return jnp.square(scores - centred / jnp.sqrt(spread + 1e-6)), weight
