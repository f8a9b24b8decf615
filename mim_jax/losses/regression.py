"""Regression losses, one number a token, float32. Letters: b batch, g groups, m masked, e target width."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def squared_error(predictions: Float[Array, "b g m e"], targets: Float[Array, "b g m e"]) -> Array:
  """Mean squared difference of each token, [b g m e] -> [b g m] (MAE, section 3)."""
  return jnp.mean(jnp.square(_difference(predictions, targets)), -1)


def absolute_error(predictions: Float[Array, "b g m e"], targets: Float[Array, "b g m e"]) -> Array:
  """Mean absolute difference of each token, [b g m e] -> [b g m] (SimMIM, equation 1)."""
  return jnp.mean(jnp.abs(_difference(predictions, targets)), -1)


def _difference(predictions, targets):
  if predictions.shape != targets.shape:
    raise ValueError(f"loss: predictions {predictions.shape} and targets {targets.shape} differ")
  return predictions.astype(jnp.float32) - targets.astype(jnp.float32)
