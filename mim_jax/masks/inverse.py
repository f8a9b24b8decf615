"""Masks that leave one block visible. Letters: b batch, n tokens, v visible, m predicted."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from mim_jax import core
from mim_jax.errors import InputError


def inverse_block(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  ratio: float,
  predicted: float = 1.0,
  aspect: tuple[float, float] = (0.5, 2.0),
  roll: bool = True,
) -> core.Mask:
  """Each sample sees one rectangle of its own; of what is masked a random share is to be predicted.

  v = n - int(n ratio) tokens are visible: a block of log-uniform `aspect` (height / width) that
  just holds v, of which the last cells, row by row, are cut off. With `roll` it lies anywhere on
  the grid bent to a torus, so that every token is as likely. `predicted` of the masked tokens,
  rounded down but at least one, are drawn as targets. All counts are static.
  InputError where the grid is not 2-D or too narrow for such a block.
  Source: CAPI, section 3.4 (inverse block masking with random roll).
  """
  b, n = tokens.positions.shape[:2]
  if len(tokens.grid) != 2:
    raise InputError(f"inverse_block: tokens must lie on a 2-D grid, not on {tokens.grid}")
  v, m = counts(n, ratio, predicted)
  shape_key, place_key, target_key = jax.random.split(key, 3)
  height, width = _sides(shape_key, b, v, tokens.grid, aspect)
  inside = _inside(place_key, (height, width), tokens.grid, v, roll)
  drawn = jax.random.uniform(target_key, (b, n))
  # Visible cells first, row by row; then the others in random order.
  order = jnp.argsort(jnp.where(inside, -1.0, drawn), axis=1)
  return core.make_mask(tokens, order[:, :v], order[:, v : v + m])


def counts(n: int, ratio: float, predicted: float) -> tuple[int, int]:
  """How many of n tokens are visible and how many are predicted; InputError where none are."""
  hidden = int(n * ratio)
  if not 0 < hidden < n or not 0 < predicted <= 1:
    raise InputError(
      f"inverse_block: ratio {ratio} hides {hidden} of {n} tokens, of which a share {predicted} is "
      f"predicted. Allowed: ratio about {1 / n:.4g} to {(n - 1) / n:.4g} for {n} tokens, predicted "
      "above 0 and at most 1."
    )
  return n - hidden, max(1, int(hidden * predicted))


def _sides(key, b: int, v: int, grid: tuple[int, ...], aspect) -> tuple[Array, Array]:
  """Heights and widths [b 1 1] of blocks that hold v cells and fit the grid."""
  rows, columns = grid
  low = max(math.log(aspect[0]), math.log(v / columns**2))
  high = min(math.log(aspect[1]), math.log(rows**2 / v))
  if low > high:
    raise InputError(
      f"inverse_block: no block of {v} tokens with height / width in {aspect} fits a grid of "
      f"{rows} x {columns}. Widen `aspect` or raise `ratio`."
    )
  ratio = jnp.exp(jax.random.uniform(key, (b, 1, 1), minval=low, maxval=high))
  height, width = (jnp.ceil(jnp.sqrt(v * x)).astype(jnp.int32) for x in (ratio, 1 / ratio))
  return jnp.minimum(height, rows), jnp.minimum(width, columns)


def _inside(key, sides, grid: tuple[int, ...], v: int, roll: bool) -> Array:
  """Which cells belong to each block, the first v of it row by row: bool [b n]."""
  away = []
  for side, length, k in zip(sides, grid, jax.random.split(key), strict=True):
    last = length if roll else length - side + 1
    start = jax.random.randint(k, side.shape, 0, last)
    away.append((jnp.arange(length)[None] - start[:, 0]) % length)  # [b length]
  (height, width), row, column = sides, away[0][:, :, None], away[1][:, None, :]
  inside = (row < height) & (column < width) & (row * width + column < v)
  return inside.reshape(inside.shape[0], -1)
