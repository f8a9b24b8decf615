"""Ask for several rectangles, show the context around them. Letters: b batch, n tokens, v, g, m."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import padded


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
  """Asks for `blocks` rectangles and shows a large one, less the others (I-JEPA, section 3).

  scale, aspect: uniform ranges of a target's share of the grid and of its height / width, drawn
  for every rectangle on its own, as is its place. context: range of the share of the grid that the
  seen rectangle covers; it has the grid's shape. least: where less than this share of the tokens
  would be seen, targets are given up from the last on (weight 0). most: a context with more than
  this share keeps a uniformly drawn part of its tokens, so that v stays small.
  Both lists are padded: `masked` [b g m] to the largest rectangle, with weight 0, `visible` [b v]
  with `valid`. Nothing is cut in raster order, and the grid's last row and column are as good as
  any, unlike in the reference (its issues 40 and 60).
  Of a padded sample the box around its real tokens is the grid, and only these count. Where nothing
  real would be asked for, or left to see, a single token is the first target.
  InputError where the grid is not 2-D, a range is none or nothing could be left to see.
  """
  padded.check_grid("multi_block", tokens.grid)
  _check_ranges(scale=scale, aspect=aspect, context=context)
  columns, box, room = tokens.grid[1], None, None
  b, n = tokens.positions.shape[:2]
  seen, asked = counts(tokens.grid, scale, aspect, most)
  floor = max(1, math.ceil(least * n - 1e-6))
  _check(tokens.grid, context, asked)
  size_key, place_key, view_key, order_key = jax.random.split(key, 4)
  if tokens.valid is not None:
    box = padded.box(tokens.valid, tokens.grid)
  target = _draw(size_key, place_key, (b, blocks), tokens.grid, scale=scale, aspect=aspect, box=box)
  view = _draw_context(view_key, b, tokens.grid, context, box)
  if tokens.valid is not None:
    target, view = _mended(jax.random.fold_in(key, 4), target, view, tokens)
  left = _inside(view, n, columns) & ~(jnp.cumsum(_inside(target, n, columns), 1) > 0)  # [b g n]
  if tokens.valid is not None:
    real, left = padded.real_tokens(tokens.valid), left & tokens.valid[:, None]
    floor = padded.looked_up(lambda k: max(1, math.ceil(least * k - 1e-6)), real, n)[:, None]
    room = padded.shown(lambda k: math.ceil(most * k - 1e-6), real, n)
  kept = jnp.maximum(jnp.sum(jnp.sum(left, -1) >= floor, -1), 1)  # of the targets, [b]
  left = jnp.take_along_axis(left, (kept - 1)[:, None, None], axis=1)[:, 0]  # [b n]
  if tokens.valid is not None:  # a single token is seen, and nothing asked for
    alone = real < 2
    kept, left = jnp.where(alone, 0, kept), jnp.where(alone[:, None], tokens.valid, left)
  visible, valid = _listed(order_key, left, seen, room)
  masked, weight = _cells(target, asked, columns)
  used = jnp.arange(blocks)[None] < kept[:, None]  # [b g]
  return core.make_mask(
    tokens, visible, masked, weight * used[..., None].astype(jnp.float32), valid
  )


def counts(
  grid: tuple[int, ...], scale: tuple[float, float], aspect: tuple[float, float], most: float
) -> tuple[int, int]:
  """Computes (v, m), how long the padded lists of what is seen and of each target are."""
  areas = [h * w for h, w in shapes(grid, scale, aspect)]
  n = math.prod(grid)
  return min(math.ceil(most * n - 1e-6), n - min(areas)), max(areas)


def shapes(
  grid: tuple[int, ...], scale: tuple[float, float], aspect: tuple[float, float]
) -> list[tuple[int, int]]:
  """Lists all (height, width) in cells that a target can have, none that it cannot.

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


def _check_ranges(**ranges: tuple[float, float]) -> None:
  for name, (low, high) in ranges.items():
    if not 0 < low <= high:
      raise InputError(
        f"multi_block: {name} ({low}, {high}) is no range. Allowed: two numbers above 0, the "
        f"smaller first. Change `objective.mask.{name}`."
      )


def _check(grid, context, largest) -> None:
  smallest = int(np.prod([max(1, round(side * math.sqrt(context[0]))) for side in grid]))
  if smallest <= largest:
    raise InputError(
      f"mask: a context of {smallest} tokens can vanish behind a target of {largest} on the grid "
      f"{tuple(grid)}. Raise `objective.mask.context`, lower `objective.mask.scale`, or use "
      "smaller patches."
    )


def _draw(size_key, place_key, shape, grid, *, scale, aspect, box) -> Int[Array, "b g 4"]:
  """Draws rectangles (top, left, height, width) in cells, at places as `_anywhere` draws them."""
  scale_key, aspect_key = jax.random.split(size_key)
  cells = math.prod(grid) if box is None else jnp.prod(box[1].astype(jnp.float32), 1)[:, None]
  area = jax.random.uniform(scale_key, shape, minval=scale[0], maxval=scale[1]) * cells
  ratio = jax.random.uniform(aspect_key, shape, minval=aspect[0], maxval=aspect[1])
  sides = jnp.stack([jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)], -1)
  return _anywhere(place_key, sides, grid, box)


def _draw_context(key, b: int, grid, context, box) -> Int[Array, "b 1 4"]:
  size_key, place_key = jax.random.split(key)
  side = jnp.sqrt(jax.random.uniform(size_key, (b, 1, 1), minval=context[0], maxval=context[1]))
  if box is None:
    return _anywhere(place_key, side * jnp.asarray(grid, jnp.float32)[None, None], grid, None)
  return _anywhere(place_key, side * box[1].astype(jnp.float32)[:, None], grid, box)


def _anywhere(key, sides: Float[Array, "b g 2"], grid, box) -> Int[Array, "b g 4"]:
  """Rounds sides to whole cells that fit the grid, or the box in it, at a uniform place."""
  limit = jnp.asarray(grid, jnp.int32)[None, None] if box is None else box[1][:, None]
  sides = jnp.clip(jnp.round(sides).astype(jnp.int32), 1, limit)
  room = limit - sides + 1
  corner = jax.random.uniform(key, sides.shape) * room.astype(jnp.float32)
  corner = jnp.minimum(corner.astype(jnp.int32), room - 1)
  return jnp.concatenate([corner if box is None else corner + box[0][:, None], sides], -1)


def _mended(key, target: Int[Array, "b g 4"], view: Int[Array, "b 1 4"], tokens: core.Tokens):
  """Replaces first target and view by a token and the grid where no real one is asked or seen."""
  valid, (rows, columns) = padded.existing(tokens), tokens.grid
  b, n = valid.shape
  first = _inside(target[:, :1], n, columns)[:, 0]
  left = _inside(view, n, columns)[:, 0] & ~first
  fine = (jnp.any(first & valid, 1) & jnp.any(left & valid, 1))[:, None, None]
  noise = padded.last(jax.random.uniform(key, (b, n)), valid)
  place = jnp.stack(jnp.divmod(jnp.argmin(noise, 1).astype(jnp.int32), columns), -1)[:, None]
  single = jnp.concatenate([place, jnp.ones_like(place)], -1)  # [b 1 4]
  grid = jnp.asarray([0, 0, rows, columns], jnp.int32)[None, None]
  target = jnp.concatenate([jnp.where(fine, target[:, :1], single), target[:, 1:]], 1)
  return target, jnp.where(fine, view, grid)


def _inside(rectangles: Int[Array, "b g 4"], n: int, columns: int) -> Bool[Array, "b g n"]:
  """Computes which tokens lie in each rectangle."""
  top, left, height, width = jnp.moveaxis(rectangles[..., None], 2, 0)  # [b g 1] each
  row, column = jnp.divmod(jnp.arange(n, dtype=jnp.int32)[None, None], columns)
  return (row >= top) & (row < top + height) & (column >= left) & (column < left + width)


def _cells(
  rectangles: Int[Array, "b g 4"], m: int, columns: int
) -> tuple[Int[Array, "b g m"], Float[Array, "b g m"]]:
  """Lists the tokens of rectangles row by row; the first, with weight 0, fills up the list."""
  top, left, height, width = jnp.moveaxis(rectangles[..., None], 2, 0)
  count = jnp.arange(m, dtype=jnp.int32)[None, None]
  real = count < height * width
  down, along = jnp.divmod(jnp.where(real, count, 0), width)
  return (top + down) * columns + left + along, real.astype(jnp.float32)


def _listed(
  key, member: Bool[Array, "b n"], v: int, room: Int[Array, "b"] | None
) -> tuple[Int[Array, "b v"], Bool[Array, "b v"]]:
  """Lists up to v members in random order, and which entries are real; else the first again.

  So that no token which is not a member is ever read. room: how many of a sample at most.
  """
  noise = jax.random.uniform(key, member.shape)
  order = jnp.argsort(jnp.where(member, noise, 2.0), axis=1)[:, :v].astype(jnp.int32)
  valid = jnp.arange(v)[None] < jnp.sum(member, 1, keepdims=True)
  valid = valid if room is None else valid & (jnp.arange(v)[None] < room[:, None])
  return jnp.where(valid, order, order[:, :1]), valid
