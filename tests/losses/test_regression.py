"""Errors of numbers."""

import jax.numpy as jnp
import numpy as np

from mim_jax import losses


def test_smooth_l1_is_square_near_and_straight_far():
  predictions = jnp.asarray([0.5, -0.5, 3.0]).reshape(1, 1, 3, 1)
  zero = jnp.zeros_like(predictions)
  np.testing.assert_allclose(losses.smooth_l1(predictions, zero)[0, 0], [0.125, 0.125, 2.5])
  twice = losses.smooth_l1(predictions, zero, scale=2.0)[0, 0]  # MaskAlign's: u^2 and 2 |u| - 1
  np.testing.assert_allclose(twice, [0.25, 0.25, 5.0])
  half = losses.smooth_l1(predictions, zero, beta=2.0)[0, 0]
  np.testing.assert_allclose(half, [0.0625, 0.0625, 2.0])
