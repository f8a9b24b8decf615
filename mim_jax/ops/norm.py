"""Layer normalisation with a custom gradient. Letters: d width."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def layer_norm(
  x: Float[Array, "*n d"], scale: Float[Array, " d"], bias: Float[Array, " d"], epsilon: float
) -> Float[Array, "*n d"]:
  """Normalizes the last axis: (x - mean) / sqrt(variance + epsilon) scale + bias, in float32.

  What is kept for the gradient is x and two numbers a token. Differentiated by JAX instead, XLA's
  CPU compiler computes the gradient of the residual stream anew in every block, through all blocks
  after it. Source: arXiv 1607.06450; the variance is that of two passes.
  """
  return _layer_norm(x, scale, bias, epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _layer_norm(x, scale, bias, epsilon):
  return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon):
  wide = x.astype(jnp.float32)
  mean = jnp.mean(wide, -1, keepdims=True)
  std = jnp.sqrt(jnp.mean(jnp.square(wide - mean), -1, keepdims=True) + epsilon)
  shape = (1,) * (x.ndim - 1) + (-1,)
  normal = (wide - mean) / std
  return normal * scale.reshape(shape) + bias.reshape(shape), (x, mean, std, scale)


def _backward(epsilon, kept, gradient):
  x, mean, std, scale = kept
  shape, axes = (1,) * (x.ndim - 1) + (-1,), tuple(range(x.ndim - 1))
  normal = (x.astype(jnp.float32) - mean) / std
  scaled = gradient * scale.reshape(shape)
  along = jnp.mean(scaled * normal, -1, keepdims=True)
  to_x = (scaled - jnp.mean(scaled, -1, keepdims=True) - normal * along) / std
  return to_x.astype(x.dtype), jnp.sum(gradient * normal, axes), jnp.sum(gradient, axes)


_layer_norm.defvjp(_forward, _backward)
