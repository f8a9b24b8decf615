"""Show or ask for rectangles of a 2-D grid. Letters as in core."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from mim_jax import core
from mim_jax.errors import InputError


def multi_block(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  blocks: int = 4,
  scale: tuple[float, float] = (0.15, 0.2),
  aspect: tuple[float, float] = (0.75, 1.5),
  context: tuple[float, float] = (0.85, 1.0),
  least: float = 0.05,
  most: float = 1.0,
) -> core.Mask:
  """`blocks` rectangles to predict, and a large one to see, less the others (I-JEPA, section 3).

  scale, aspect: uniform ranges of a target's share of the grid and of its height / width, drawn
  for every rectangle on its own, as is its place. context: range of the share of the grid that the
  seen rectangle covers; it has the grid's shape. least: where less than this share of the tokens
  would be seen, targets are given up from the last on (weight 0). most: a context with more than
  this share keeps a uniformly drawn part of its tokens, so that v stays small.
  Both lists are padded: `masked` [b g m] to the largest rectangle, with weight 0, `visible` [b v]
  with `valid`. Nothing is cut in raster order, and the grid's last row and column are as good as
  any, unlike in the reference (its issues 40 and 60).
  InputError where nothing could be left to see.
  """
  columns = tokens.grid[1]
  b, n = tokens.positions.shape[:2]
  seen, asked = counts(tokens.grid, scale, aspect, most)
  floor = max(1, math.ceil(least * n - 1e-6))
  _check(tokens.grid, context, asked)
  size_key, place_key, view_key, order_key = jax.random.split(key, 4)
  target = _draw(size_key, place_key, (b, blocks), tokens.grid, scale, aspect)
  view = _draw_context(view_key, b, tokens.grid, context)
  left = _inside(view, n, columns) & ~(jnp.cumsum(_inside(target, n, columns), 1) > 0)  # [b g n]
  kept = jnp.maximum(jnp.sum(jnp.sum(left, -1) >= floor, -1), 1)  # of the targets, [b]
  left = jnp.take_along_axis(left, (kept - 1)[:, None, None], axis=1)[:, 0]  # [b n]
  visible, valid = _listed(order_key, left, seen)
  masked, weight = _cells(target, asked, columns)
  used = jnp.arange(blocks)[None] < kept[:, None]  # [b g]
  return core.make_mask(
    tokens, visible, masked, weight * used[..., None].astype(jnp.float32), valid
  )


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
  v, m = inverse_counts(n, ratio, predicted)
  shape_key, place_key, target_key = jax.random.split(key, 3)
  height, width = _inverse_sides(shape_key, b, v, tokens.grid, aspect)
  inside = _rolled(place_key, (height, width), tokens.grid, v, roll)
  drawn = jax.random.uniform(target_key, (b, n))
  # Visible cells first, row by row; then the others in random order.
  order = jnp.argsort(jnp.where(inside, -1.0, drawn), axis=1)
  return core.make_mask(tokens, order[:, :v], order[:, v : v + m])


def counts(
  grid: tuple[int, ...], scale: tuple[float, float], aspect: tuple[float, float], most: float
) -> tuple[int, int]:
  """(v, m): how long the padded lists of what is seen and of each target are."""
  areas = [h * w for h, w in shapes(grid, scale, aspect)]
  n = math.prod(grid)
  return min(math.ceil(most * n - 1e-6), n - min(areas)), max(areas)


def shapes(
  grid: tuple[int, ...], scale: tuple[float, float], aspect: tuple[float, float]
) -> list[tuple[int, int]]:
  """All (height, width) in cells that a target can have, none that it cannot.

  In logarithms a side is rounded from an interval, and area and aspect bound sum and difference of
  the two sides; a pair is possible where these four intervals leave some height.
  """
  rows, columns = grid
  low, high = (math.log(share * rows * columns) for share in scale)
  flat, tall = (math.log(ratio) for ratio in aspect)

  def possible(h, w):
    (h0, h1), (w0, w1) = (
      (math.log(side - 0.5) if side > 1 else -9.0, math.log(side + 0.5)) for side in (h, w)
    )
    above = max(h0, w0 + flat, low - w1, (low + flat) / 2)
    return above <= min(h1, w1 + tall, high - w0, (high + tall) / 2)

  reach = range(1, 2 + math.ceil(math.exp((high + max(tall, -flat)) / 2)))
  found = {(min(h, rows), min(w, columns)) for h in reach for w in reach if possible(h, w)}
  return sorted(found)


def _check(grid, context, largest) -> None:
  smallest = int(np.prod([max(1, round(side * math.sqrt(context[0]))) for side in grid]))
  if smallest <= largest:
    raise InputError(
      f"mask: a context of {smallest} tokens can vanish behind a target of {largest} on the grid "
      f"{tuple(grid)}. Raise `objective.mask.context`, lower `objective.mask.scale`, or use "
      "smaller patches."
    )


def _draw(size_key, place_key, shape, grid, scale, aspect) -> Int[Array, "b g 4"]:
  """Rectangles (top, left, height, width) in cells, at places as `_anywhere` draws them."""
  scale_key, aspect_key = jax.random.split(size_key)
  area = jax.random.uniform(scale_key, shape, minval=scale[0], maxval=scale[1]) * math.prod(grid)
  ratio = jax.random.uniform(aspect_key, shape, minval=aspect[0], maxval=aspect[1])
  return _anywhere(place_key, jnp.stack([jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)], -1), grid)


def _draw_context(key, b: int, grid, context) -> Int[Array, "b 1 4"]:
  size_key, place_key = jax.random.split(key)
  share = jax.random.uniform(size_key, (b, 1, 1), minval=context[0], maxval=context[1])
  return _anywhere(place_key, jnp.sqrt(share) * jnp.asarray(grid, jnp.float32)[None, None], grid)


def _anywhere(key, sides: Float[Array, "b g 2"], grid) -> Int[Array, "b g 4"]:
  """Sides rounded to whole cells that fit the grid, at a uniformly drawn place."""
  limit = jnp.asarray(grid, jnp.int32)[None, None]
  sides = jnp.clip(jnp.round(sides).astype(jnp.int32), 1, limit)
  room = limit - sides + 1
  corner = jax.random.uniform(key, sides.shape) * room.astype(jnp.float32)
  return jnp.concatenate([jnp.minimum(corner.astype(jnp.int32), room - 1), sides], -1)


def _inside(rectangles: Int[Array, "b g 4"], n: int, columns: int) -> Bool[Array, "b g n"]:
  """Which tokens lie in each rectangle."""
  top, left, height, width = jnp.moveaxis(rectangles[..., None], 2, 0)  # [b g 1] each
  row, column = jnp.divmod(jnp.arange(n, dtype=jnp.int32)[None, None], columns)
  return (row >= top) & (row < top + height) & (column >= left) & (column < left + width)


def _cells(
  rectangles: Int[Array, "b g 4"], m: int, columns: int
) -> tuple[Int[Array, "b g m"], Float[Array, "b g m"]]:
  """The tokens of each rectangle row by row, and weights, 0 where its first fills up the list."""
  top, left, height, width = jnp.moveaxis(rectangles[..., None], 2, 0)
  count = jnp.arange(m, dtype=jnp.int32)[None, None]
  real = count < height * width
  down, along = jnp.divmod(jnp.where(real, count, 0), width)
  return (top + down) * columns + left + along, real.astype(jnp.float32)


def _listed(
  key, member: Bool[Array, "b n"], v: int
) -> tuple[Int[Array, "b v"], Bool[Array, "b v"]]:
  """Up to v members in random order, and which entries are real; the others repeat the first.

  So that no token which is not a member is ever looked at.
  """
  noise = jax.random.uniform(key, member.shape)
  order = jnp.argsort(jnp.where(member, noise, 2.0), axis=1)[:, :v].astype(jnp.int32)
  valid = jnp.arange(v)[None] < jnp.sum(member, 1, keepdims=True)
  return jnp.where(valid, order, order[:, :1]), valid


def inverse_counts(n: int, ratio: float, predicted: float) -> tuple[int, int]:
  """How many of n tokens are visible and how many are predicted; InputError where none are."""
  hidden = int(n * ratio)
  if not 0 < hidden < n or not 0 < predicted <= 1:
    raise InputError(
      f"inverse_block: ratio {ratio} hides {hidden} of {n} tokens, of which a share {predicted} is "
      f"predicted. Allowed: ratio about {1 / n:.4g} to {(n - 1) / n:.4g} for {n} tokens, predicted "
      "above 0 and at most 1."
    )
  return n - hidden, max(1, int(hidden * predicted))


def _inverse_sides(key, b: int, v: int, grid: tuple[int, ...], aspect) -> tuple[Array, Array]:
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


def _rolled(key, sides, grid: tuple[int, ...], v: int, roll: bool) -> Array:
  """Which cells belong to each block, the first v of it row by row: bool [b n]."""
  away = []
  for side, length, k in zip(sides, grid, jax.random.split(key), strict=True):
    last = length if roll else length - side + 1
    start = jax.random.randint(k, side.shape, 0, last)
    away.append((jnp.arange(length)[None] - start[:, 0]) % length)  # [b length]
  (height, width), row, column = sides, away[0][:, :, None], away[1][:, None, :]
  inside = (row < height) & (column < width) & (row * width + column < v)
  return inside.reshape(inside.shape[0], -1)
