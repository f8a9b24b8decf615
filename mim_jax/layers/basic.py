"""Linear layers and layer normalisation.

Compute runs in `dtype`; parameters and norms stay float32.
"""

import flax.linen as nn
import jax.numpy as jnp

from mim_jax.ops import norm as norms


def dense(width: int, dtype: str, name: str | None = None, **settings) -> nn.Dense:
  """Makes a linear layer with Xavier-uniform kernel and zero bias, MAE's initialiser."""
  settings.setdefault("kernel_init", nn.initializers.xavier_uniform())
  return nn.Dense(width, dtype=jnp.dtype(dtype), name=name, **settings)


class LayerNorm(nn.Module):
  """Layer normalisation over the last axis, statistics in float32; gives `dtype`."""

  epsilon: float = 1e-6
  use_scale: bool = True
  use_bias: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    shape = x.shape[-1:]
    scale = self.param("scale", nn.initializers.ones, shape) if self.use_scale else jnp.ones(shape)
    bias = self.param("bias", nn.initializers.zeros, shape) if self.use_bias else jnp.zeros(shape)
    x, scale, bias = (jnp.asarray(value) for value in (x, scale, bias))  # also of numpy
    return norms.layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)


def norm(dtype: str, name: str | None = None, **settings) -> LayerNorm:
  """Makes a LayerNorm with epsilon 1e-6."""
  return LayerNorm(dtype=dtype, name=name, **settings)
