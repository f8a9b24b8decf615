"""Optax where JAX is told to refuse mixed types."""

import jax
import optax


def lenient(transform: optax.GradientTransformation) -> optax.GradientTransformation:
  """The same, also where JAX is told to refuse mixed types: Optax's Adam raises a float to an
  int.
  """

  def update(updates, state, params=None):
    with jax.numpy_dtype_promotion("standard"):
      return transform.update(updates, state, params)

  return optax.GradientTransformation(transform.init, update)
