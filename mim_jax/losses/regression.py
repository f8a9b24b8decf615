"""Regression losses, one float32 number a token. Letters: b, g groups, m masked, e target width."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def squared_error(predictions: Float[Array, "b g m e"], targets: Float[Array, "b g m e"]) -> Array:
  """Averages squared differences of each token, [b g m e] -> [b g m] (MAE, section 3)."""
  return jnp.mean(jnp.square(_difference(predictions, targets)), -1)


def absolute_error(predictions: Float[Array, "b g m e"], targets: Float[Array, "b g m e"]) -> Array:
  """Averages absolute differences of each token, [b g m e] -> [b g m] (SimMIM, equation 1)."""
  return jnp.mean(jnp.abs(_difference(predictions, targets)), -1)


def smooth_l1(
  predictions: Float[Array, "b g m e"],
  targets: Float[Array, "b g m e"],
  *,
  beta: float = 1.0,
  scale: float = 1.0,
) -> Array:
  """Averages `scale` times u^2 / 2 beta where |u| < beta, else |u| - beta / 2: [b g m].

  u is the difference. Source: Fast R-CNN (arXiv 1504.08083), equation 3; MaskAlign has scale 2.
  """
  size = jnp.abs(_difference(predictions, targets))
  near = jnp.square(size) / (2.0 * beta)
  return scale * jnp.mean(jnp.where(size < beta, near, size - beta / 2.0), -1)


def _difference(predictions, targets):
  if predictions.shape != targets.shape:
    raise ValueError(f"loss: predictions {predictions.shape} and targets {targets.shape} differ")
  return predictions.astype(jnp.float32) - targets.astype(jnp.float32)
