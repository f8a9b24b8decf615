"""Positions of tokens and their code. Letters: n tokens, p coordinates, d width."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError


def grid_positions(grid: tuple[int, ...]) -> Float[Array, "n p"]:
  """Lists the coordinates of a grid's cells, in cells, row by row: [n p], float32."""
  axes = [np.arange(length, dtype=np.float32) for length in grid]
  return jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(grid)))


def sincos(positions: Float[Array, "*n p"], width: int) -> Float[Array, "*n d"]:
  """Encodes coordinates by fixed sines and cosines, [... p] -> [... width], float32.

  Each coordinate gets as many sines as cosines, f = width // 2p, frequencies 10000^(-i / f), sines
  first; channels left over behind them (4 of 1024 for three coordinates) are 0. The last coordinate
  (the column) comes first, as in MAE's reference (util/pos_embed.py). Of a single coordinate sines
  and cosines take turns (Vaswani et al. 2017, section 3.5; VideoMAE).
  """
  p = positions.shape[-1]
  if not p or width < 2 * p:
    raise InputError(
      f"sincos positions: width {width} has no sine and cosine for each of {p} coordinates. It "
      f"must be at least {2 * p}; tokens without coordinates take layers.NoPositions."
    )
  half = width // p // 2
  rates = jnp.asarray(10000.0 ** (-np.arange(half) / half), jnp.float32)
  angles = positions[..., ::-1, None] * rates.reshape((1,) * positions.ndim + (-1,))
  join = jnp.stack if p == 1 else jnp.concatenate
  code = join([jnp.sin(angles), jnp.cos(angles)], -1)
  code = code.reshape(*positions.shape[:-1], 2 * half * p)
  left = width - 2 * half * p
  return jnp.pad(code, [(0, 0)] * (code.ndim - 1) + [(0, left)]) if left else code
