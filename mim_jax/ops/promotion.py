"""Optax under strict dtype promotion."""

import jax
import optax


def lenient(transform: optax.GradientTransformation) -> optax.GradientTransformation:
  """Wraps an optimizer so that it runs under strict dtype promotion.

  Optax's Adam raises a float to an int.
  """

  def update(updates, state, params=None):
    with jax.numpy_dtype_promotion("standard"):
      return transform.update(updates, state, params)

  return optax.GradientTransformation(transform.init, update)
