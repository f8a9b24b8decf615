"""Initialisers that Flax does not have."""

import jax
import jax.numpy as jnp


def uniform_bias(fan_in: int):
  """Uniform in +-1/sqrt(fan_in), the default of a PyTorch convolution's bias."""
  bound = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


# The default of a PyTorch convolution's kernel: uniform in +-1/sqrt(fan_in).
uniform_kernel = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
