"""Logits of features by learned prototypes. Letters: b batch, n tokens, d width, k prototypes.

Products run in `dtype` and are summed in float32; the norms are float32.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


class CosinePrototypes(nn.Module):
  """Cosine prototypes: [*b d] -> cosine with each of `count`, times its learned gain, [*b k].

  Kernel normal(0.02), of which only the directions count; gains start at 1. Source: CAPI, section
  3.2, the student's head.
  """

  count: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b k"]:
    kernel = self.param("kernel", nn.initializers.normal(0.02), (x.shape[-1], self.count))
    gain = self.param("gain", nn.initializers.ones, (self.count,))
    length = jnp.linalg.norm(kernel, axis=0, keepdims=True) + 1e-8
    return scores(unit(x, 1e-12), kernel / length * gain[None], self.dtype)


class LinearPrototypes(nn.Module):
  """Linear prototypes: unit features [*b d] times `count` free prototypes, plus a bias: [*b k].

  Kernel normal(1), not normalised, so that logits start with std 1; bias 0. Source: CAPI,
  section 3.2, the head that clusters the teacher's tokens.
  """

  count: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b k"]:
    kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[-1], self.count))
    bias = self.param("bias", nn.initializers.zeros, (self.count,))
    return scores(unit(x, 1e-7), kernel, self.dtype) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def unit(x: Float[Array, "*b d"], epsilon: float) -> Float[Array, "*b d"]:
  """Normalizes vectors to length 1, float32; those shorter than epsilon are divided by epsilon."""
  x = x.astype(jnp.float32)
  square = jnp.sum(jnp.square(x), -1, keepdims=True)
  return x / jnp.sqrt(jnp.maximum(square, epsilon**2))


def scores(x: Array, kernel: Array, dtype: str) -> Array:
  """Multiplies x @ kernel in `dtype`, summed and returned in float32."""
  half = jnp.dtype(dtype)
  return jnp.matmul(x.astype(half), kernel.astype(half), preferred_element_type=jnp.float32)
