"""Show one block and hide the rest. Letters: b batch, n tokens, v visible, m predicted."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import padded
from mim_jax.ops import gather


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
  """Shows one rectangle of each sample, and asks for a random fraction of what is masked.

  v = n - int(n ratio) tokens are visible: a block of log-uniform `aspect` (height / width) that
  just holds v, of which the last cells, row by row, are cut off. With `roll` it lies anywhere on
  the grid bent to a torus, so that every token is as likely. `predicted` of the masked tokens,
  rounded down but at least one, are drawn as targets. All counts are static.
  Of a padded sample the box around its real tokens is the grid, and n counts these; where padding
  leaves holes the block grows downward until it holds v.
  InputError where the grid is not 2-D or too narrow for such a block.
  Source: CAPI, section 3.4 (inverse block masking with random roll).
  """
  b, n = tokens.positions.shape[:2]
  padded.check_grid("inverse_block", tokens.grid)
  v, m = counts(n, ratio, predicted)
  shape_key, place_key, target_key = jax.random.split(key, 3)
  height, width = _sides(shape_key, b, v, tokens.grid, aspect)
  if tokens.valid is not None:
    real = padded.real_tokens(tokens.valid)
    count = padded.shown(lambda k: k - int(k * ratio), real, n)
    inside = _real_inside(shape_key, place_key, tokens, count, aspect, roll)
    noise = jnp.where(inside, -1.0, jax.random.uniform(target_key, (b, n)))
    order = jnp.argsort(padded.last(noise, tokens.valid), axis=1)
    asked = padded.looked_up(lambda k: min(k, max(1, int(k * predicted))), real - count, n)
    return padded.split(tokens, order, count, v, m, asked)
  inside = _inside(place_key, (height, width), tokens.grid, v, roll)
  drawn = jax.random.uniform(target_key, (b, n))
  # Visible cells first, row by row; then the others in random order.
  order = jnp.argsort(jnp.where(inside, -1.0, drawn), axis=1)
  return core.make_mask(tokens, order[:, :v], order[:, v : v + m])


def counts(n: int, ratio: float, predicted: float) -> tuple[int, int]:
  """Computes how many of n tokens are visible and predicted; InputError where none are."""
  hidden = int(n * ratio)
  if not 0 < hidden < n or not 0 < predicted <= 1:
    raise InputError(
      f"inverse_block: ratio {ratio} hides {hidden} of {n} tokens, of which a share {predicted} is "
      f"predicted. Allowed: ratio about {1 / n:.4g} to {(n - 1) / n:.4g} for {n} tokens, predicted "
      "above 0 and at most 1."
    )
  return n - hidden, max(1, int(hidden * predicted))


def _sides(key, b: int, v: int, grid: tuple[int, ...], aspect) -> tuple[Array, Array]:
  """Draws heights and widths [b 1 1] of blocks that hold v cells and fit the grid."""
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
  """Computes which cells belong to each block, the first v of it row by row: bool [b n]."""
  away = []
  for side, length, k in zip(sides, grid, jax.random.split(key), strict=True):
    last = length if roll else length - side + 1
    start = jax.random.randint(k, side.shape, 0, last)
    away.append((jnp.arange(length)[None] - start[:, 0]) % length)  # [b length]
  (height, width), row, column = sides, away[0][:, :, None], away[1][:, None, :]
  inside = (row < height) & (column < width) & (row * width + column < v)
  return inside.reshape(inside.shape[0], -1)


def _real_inside(
  shape_key, place_key, tokens: core.Tokens, count: Int[Array, "b"], aspect, roll: bool
) -> Bool[Array, "b n"]:
  """Draws which `count` real tokens each sample's block holds, in the box around all of them."""
  valid = padded.existing(tokens)
  first, sides = (x[..., None, None] for x in padded.box(valid, tokens.grid))
  rows, columns = sides[:, 0], sides[:, 1]  # [b 1 1]
  v, h, w = (x.astype(jnp.float32) for x in (jnp.maximum(count, 1)[:, None, None], rows, columns))
  low = jnp.maximum(math.log(aspect[0]), jnp.log(v / w**2))
  high = jnp.maximum(low, jnp.minimum(math.log(aspect[1]), jnp.log(h**2 / v)))
  ratio = jnp.exp(jax.random.uniform(shape_key, v.shape, minval=low, maxval=high))
  height = jnp.clip(jnp.ceil(jnp.sqrt(v * ratio)).astype(jnp.int32), 1, rows)
  width = jnp.ceil(jnp.maximum(jnp.sqrt(v * (1 / ratio)), v / h)).astype(jnp.int32)
  width, away = jnp.clip(width, 1, columns), []
  keys = jax.random.split(place_key)
  for i, (side, length) in enumerate(((height, rows), (width, columns))):
    start = jax.random.randint(keys[i], side.shape, 0, length if roll else length - side + 1)
    cell = jnp.arange(tokens.grid[i], dtype=jnp.int32)[None]
    away.append((cell - (first[:, i] + start)[:, 0]) % length[:, 0])
  row, column = away[0][:, :, None], away[1][:, None, :]
  place = jnp.where(column < width, row * width + column, valid.shape[1])
  place = place.reshape(valid.shape).astype(jnp.float32)
  rank = gather.inverse(jnp.argsort(padded.last(place, valid), axis=1))
  return rank < count[:, None]
