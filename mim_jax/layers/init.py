"""Initialisers by name, for configs."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mim_jax.errors import unknown

_NORMAL = nn.initializers.normal(0.02)


def _trunc_normal(key, shape, dtype=jnp.float32):
  """Truncated normal: std 0.02, cut at +-1 std, so that the effective std is 0.0108."""
  return 0.02 * jax.random.truncated_normal(key, -1.0, 1.0, shape, dtype)


# Initialiser, and whether the kernels that end a residual branch of block i are divided by
# sqrt(2 i).
KERNELS: dict[str, tuple[Callable, bool]] = {
  "xavier": (nn.initializers.xavier_uniform(), False),  # MAE
  "xavier_per_projection": (nn.initializers.xavier_uniform(), False),  # MultiMAE: q, k, v apart
  "normal": (_NORMAL, False),  # Swin, iBOT, I-JEPA (whose second pass undoes its own scaling)
  "normal_depth_scaled": (_NORMAL, True),  # VQ-KD
  "trunc_normal": (_trunc_normal, True),  # BEiT and SimMIM's ViT
}


def kernel(word: str, block=None, fused: int = 1) -> Callable:
  """Picks the initialiser `word` of a kernel; `block` (from 1) where it ends a residual branch.

  `fused` is how many square projections lie beside each other in the kernel.
  """
  if word not in KERNELS:
    raise unknown("init", word, KERNELS)
  if word == "xavier_per_projection":
    return nn.initializers.variance_scaling((1 + fused) / 2, "fan_avg", "uniform")
  draw, scaled = KERNELS[word]
  if block is None or not scaled:
    return draw
  shrink = jax.lax.rsqrt(2.0 * jnp.asarray(block, jnp.float32))
  return lambda key, shape, dtype=jnp.float32: draw(key, shape, dtype) * shrink.astype(dtype)


def token(word: str) -> Callable:
  """Picks the initialiser of learned tokens that goes with kernels of `word`; also "zeros"."""
  if word == "zeros":
    return nn.initializers.zeros
  kernel(word)
  return _trunc_normal if word == "trunc_normal" else _NORMAL


def fan_in(inputs: int) -> Callable:
  """Makes uniform in +-1/sqrt(inputs), PyTorch's default for kernels and biases."""
  bound = inputs**-0.5
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)
