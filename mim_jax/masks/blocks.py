"""Masks grown block by block. Letters: b batch, t tries, h w grid, n tokens, v visible, m
masked.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from mim_jax import core
from mim_jax.errors import InputError

TRIES = 10  # at one block, before a mask is taken as it is
DRAWS = 12  # blocks at most; at the published sizes 1 mask of 20000 asks for more than 10


def block_wise(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  ratio: float = 75 / 196,
  smallest: float = 16 / 196,
  largest: float | None = None,
  aspect: float = 0.3,
) -> core.Mask:
  """Hides round(ratio n) tokens of a 2-D grid in random blocks that may overlap.

  BEiT, algorithm 1: a block's area is uniform between `smallest` and what is still to be hidden (or
  `largest`, both shares of n), its height / width log-uniform between `aspect` and its inverse, its
  place uniform. Ten tries to hide something without hiding too much, else the blocks end. What then
  lacks to the count is hidden one by one (BEiT v2), about half a token in 75; so the count is
  static.
  InputError where the grid is not 2-D or nothing would be visible or masked.
  """
  b, n = tokens.positions.shape[:2]
  count = hidden_count(tokens.grid, ratio)
  block_key, rest_key = jax.random.split(key)
  sizes = smallest * n, float(count) if largest is None else largest * n
  hidden = grown(block_key, b, tokens.grid, count, sizes, aspect).reshape(b, n)
  noise = jax.random.uniform(rest_key, (b, n))
  order = jnp.argsort(jnp.where(hidden, -1.0, noise), axis=1).astype(jnp.int32)
  return core.make_mask(tokens, order[:, count:], order[:, :count])


def grown(
  key,
  b: int,
  grid: tuple[int, ...],
  count: int | Float[Array, "b"],
  sizes: tuple[float, float],
  aspect: float,
) -> Bool[Array, "b h w"]:
  """What blocks alone hide, at most `count` cells; sizes: smallest and largest area of a block."""

  def draw(i, carry):
    hidden, going = carry
    left = count - jnp.sum(hidden, (1, 2)).astype(jnp.float32)  # [b]
    budget = jnp.minimum(left, sizes[1])
    block = _rectangles(jax.random.fold_in(key, i), budget, sizes[0], aspect, grid)
    found, accepted = _first(block, hidden, budget)
    going = going & accepted
    return hidden | (found & going[:, None, None]), going

  start = jnp.zeros((b, *grid), bool), jnp.ones((b,), bool)
  return jax.lax.fori_loop(0, DRAWS, draw, start)[0]


def hidden_count(grid: tuple[int, ...], ratio: float) -> int:
  """round(ratio n), refused where it leaves no visible or no masked token."""
  n = math.prod(grid)
  count = round(ratio * n)
  if len(grid) != 2 or not 0 < count < n:
    raise InputError(
      f"mask: ratio {ratio} hides {count} tokens of the grid {tuple(grid)}. Blocks need a 2-D "
      f"grid, and 1 to {n - 1} hidden tokens. Change `objective.mask.ratio` or the patch size."
    )
  return count


def _rectangles(key, budget: Array, low: float, aspect: float, grid) -> Bool[Array, "b t h w"]:
  """Blocks of an area between `low` and the budget; empty where one would span the grid."""
  h, w = grid
  shape = (budget.shape[0], TRIES)
  area_key, aspect_key, row_key, column_key = jax.random.split(key, 4)
  # Where the budget is below `low` the interval is reversed and still used, as in the reference.
  area = low + (budget[:, None] - low) * jax.random.uniform(area_key, shape)
  bound = abs(math.log(aspect))
  tall = jnp.exp(jax.random.uniform(aspect_key, shape, minval=-bound, maxval=bound))
  height, width = jnp.round(jnp.sqrt(area * tall)), jnp.round(jnp.sqrt(area / tall))
  fits = (height < h) & (width < w)
  top = _place(row_key, height, h)
  left = _place(column_key, width, w)
  rows, columns = (jnp.arange(side, dtype=jnp.float32)[None, None] for side in grid)
  down = (rows >= top) & (rows < top + height[..., None]) & fits[..., None]
  along = (columns >= left) & (columns < left + width[..., None])
  return down[..., :, None] & along[..., None, :]


def _place(key, extent: Array, side: int) -> Array:
  """Where a block begins, uniform over all places at which it fits: [b t 1]."""
  room = side - extent + 1
  return jnp.minimum(jnp.floor(jax.random.uniform(key, extent.shape) * room), room - 1)[..., None]


def _first(block: Bool[Array, "b t h w"], hidden: Bool[Array, "b h w"], budget: Array):
  """(the first block that hides something new within the budget [b h w], whether there is one)."""
  new: Int[Array, "b t"] = jnp.sum(block & ~hidden[:, None], (2, 3))
  fit = (new > 0) & (new.astype(jnp.float32) <= budget[:, None])
  first = jnp.argmax(fit, 1)
  chosen = jnp.take_along_axis(block, first[:, None, None, None], axis=1)[:, 0]
  return chosen, jnp.any(fit, 1)
