"""Rescaling of values on a grid. Letters: b batch, n cells, s rescaled cells, e values."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError


def rescale(
  values: Float[Array, "b n e"], grid: tuple[int, ...], scale: int | float
) -> Float[Array, "b s e"]:
  """Rescales [b n e] on a 2-D grid to `scale` times the rows and columns, row by row.

  A whole `scale` repeats every cell, 1/2, 1/3, ... takes the mean of 2 x 2, 3 x 3, ... of them.
  InputError for other scales, and where cells would be left over.
  """
  b, _, e = values.shape
  rows, columns = grid
  if scale >= 1 and scale == int(scale):
    cells = values.reshape(b, rows, 1, columns, 1, e)
    size = int(scale)
    return jnp.broadcast_to(cells, (b, rows, size, columns, size, e)).reshape(b, -1, e)
  size = round(1 / scale)
  if abs(size * scale - 1) > 1e-6 or rows % size or columns % size:
    raise InputError(
      f"scale {scale} on a grid of {rows} x {columns}: allowed are whole numbers, or 1/2, 1/3, ... "
      "that leave no row or column over. Change predictor.scales, or the patch or image size."
    )
  cells = values.reshape(b, rows // size, size, columns // size, size, e)
  return jnp.mean(cells, (2, 4)).reshape(b, -1, e)
