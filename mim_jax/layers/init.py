"""How parameters start, by word, so that a config can name it."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mim_jax.errors import unknown

_NORMAL = nn.initializers.normal(0.02)


def _cut(key, shape, dtype=jnp.float32):
  """Normal of deviation 0.02 drawn anew beyond one deviation: its own deviation is 0.0108."""
  return 0.02 * jax.random.truncated_normal(key, -1.0, 1.0, shape, dtype)


# Whether the maps that end a residual branch of block i are divided by sqrt(2 i) beside it.
KERNELS: dict[str, tuple[Callable, bool]] = {
  "xavier": (nn.initializers.xavier_uniform(), False),  # MAE
  "each": (nn.initializers.xavier_uniform(), False),  # the same, fused maps apart; MultiMAE
  "normal": (_NORMAL, False),  # Swin, iBOT, I-JEPA (whose second pass undoes its own scaling)
  "scaled": (_NORMAL, True),  # VQ-KD
  "cut": (_cut, True),  # BEiT and SimMIM's ViT
}


def kernel(word: str, block=None, fused: int = 1) -> Callable:
  """The initialiser `word` of a kernel; `block` (from 1) where it ends a residual branch of one.

  `fused` is how many square maps lie beside each other in the kernel.
  """
  if word not in KERNELS:
    raise unknown("init", word, KERNELS)
  if word == "each":
    return nn.initializers.variance_scaling((1 + fused) / 2, "fan_avg", "uniform")
  draw, scaled = KERNELS[word]
  if block is None or not scaled:
    return draw
  shrink = jax.lax.rsqrt(2.0 * jnp.asarray(block, jnp.float32))
  return lambda key, shape, dtype=jnp.float32: draw(key, shape, dtype) * shrink.astype(dtype)


def token(word: str) -> Callable:
  """The initialiser of class and mask tokens that goes with kernels of `word`."""
  kernel(word)
  return _cut if word == "cut" else _NORMAL


def fan_in(inputs: int) -> Callable:
  """Uniform in +-1/sqrt(inputs), PyTorch's default for kernels and biases of maps."""
  bound = inputs**-0.5
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)
