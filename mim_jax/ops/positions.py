"""Where tokens are. Letters: n tokens, p coordinates, d width."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError


def grid_positions(grid: tuple[int, ...]) -> Float[Array, "n p"]:
  """Coordinates of a grid's cells in units of cells, row by row: [n p], float32."""
  axes = [np.arange(length, dtype=np.float32) for length in grid]
  return jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(grid)))


def sincos(positions: Float[Array, "*n p"], width: int) -> Float[Array, "*n d"]:
  """Fixed sine-cosine code of coordinates, [... p] -> [... width], float32.

  Each coordinate gets width / p numbers, frequencies 10000^(-i / (width / 2p)), sines first.
  The last coordinate (the column) comes first, as in MAE's reference (util/pos_embed.py). Of a
  single coordinate sines and cosines take turns (Vaswani et al. 2017, section 3.5; VideoMAE).
  """
  p = positions.shape[-1]
  if width % (2 * p):
    raise InputError(
      f"sincos positions: width {width} must be a multiple of {2 * p} for {p} coordinates"
    )
  half = width // p // 2
  rates = jnp.asarray(10000.0 ** (-np.arange(half) / half), jnp.float32)
  angles = positions[..., ::-1, None] * rates.reshape((1,) * positions.ndim + (-1,))
  join = jnp.stack if p == 1 else jnp.concatenate
  code = join([jnp.sin(angles), jnp.cos(angles)], -1)
  return code.reshape(*positions.shape[:-1], width)
