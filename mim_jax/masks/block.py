"""Hide blocks of a 2-D grid. Letters: b batch, t tries, h w grid, n tokens, m masked, u squares."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import padded

TRIES = 10  # at one block, before the mask ends
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
  static. Of a padded sample n counts the real tokens, and blocks lie in the box around them.
  InputError where the grid is not 2-D or nothing would be visible or masked.
  """
  b, n = tokens.positions.shape[:2]
  count = hidden_count(tokens.grid, ratio)
  block_key, rest_key = jax.random.split(key)
  if tokens.valid is not None:
    real = padded.real_tokens(tokens.valid)
    gone = real - padded.shown(lambda k: k - round(ratio * k), real, n)
    most, size = gone.astype(jnp.float32), real.astype(jnp.float32)
    bounds = smallest * size, most if largest is None else largest * size
    hidden = grown(block_key, b, tokens.grid, most, bounds, aspect, valid=tokens.valid)
    # As below: what is hidden one by one has the least noise.
    noise = jnp.where(hidden.reshape(b, n), 1.0, -jax.random.uniform(rest_key, (b, n)))
    order = jnp.argsort(padded.last(noise, tokens.valid), axis=1)
    return padded.split(tokens, order, real - gone, n - count, count)
  sizes = smallest * n, float(count) if largest is None else largest * n
  hidden = grown(block_key, b, tokens.grid, count, sizes, aspect).reshape(b, n)
  noise = jax.random.uniform(rest_key, (b, n))
  order = jnp.argsort(jnp.where(hidden, -1.0, noise), axis=1).astype(jnp.int32)
  return core.make_mask(tokens, order[:, count:], order[:, :count])


def block_wise_by_chance(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  chance: float = 0.5,
  ratio: tuple[float, float] = (0.1, 0.5),
  aspect: float = 0.3,
) -> core.Mask:
  """Hides blocks with this chance, at most a uniformly drawn fraction of the tokens; else nothing.

  Every image has its own coin and its own share. Blocks as in BEiT (block_wise), but of an
  area from (side // 3)^2 on, and what they do not reach stays visible (iBOT, section 3.3 and its
  reference): at 14 x 14 and (0.1, 0.5) the mean share, where the coin says so, is 0.297.
  `masked` [b 1 m] is padded to the largest share, with weight 0, `visible` to all n with `valid`
  (its padding repeats a visible token). Of a padded sample only real tokens count, and blocks lie
  in the box around them. InputError where ratio would leave nothing visible.
  """
  b, n = tokens.positions.shape[:2]
  _check_range(tokens.grid, ratio)
  coin_key, share_key, block_key, order_key = jax.random.split(key, 4)
  share = jax.random.uniform(share_key, (b,), minval=ratio[0], maxval=ratio[1])
  share = jnp.where(jax.random.bernoulli(coin_key, chance, (b,)), share, 0.0)
  m = math.floor(ratio[1] * n)
  if tokens.valid is not None:
    real = padded.real_tokens(tokens.valid).astype(jnp.float32)
    _, sides = padded.box(tokens.valid, tokens.grid)
    sizes = (jnp.min(sides, 1) // 3).astype(jnp.float32) ** 2, real
    gone = grown(
      block_key, b, tokens.grid, share * real, sizes, aspect, valid=tokens.valid
    ).reshape(b, n)
    drawn = jax.random.uniform(order_key, (b, n))
    order = jnp.argsort(padded.last(jnp.where(gone, 1.0 + drawn, drawn), tokens.valid), axis=1)
    return padded.split(tokens, order, padded.real_tokens(tokens.valid & ~gone), n, m)
  sizes = float((min(tokens.grid) // 3) ** 2), float(n)
  hidden = grown(block_key, b, tokens.grid, share * n, sizes, aspect).reshape(b, n)
  noise: Float[Array, "b n"] = jax.random.uniform(order_key, (b, n))
  order = jnp.argsort(jnp.where(hidden, noise - 1.0, noise), axis=1).astype(jnp.int32)
  count = jnp.sum(hidden, 1, keepdims=True)
  visible = order[:, ::-1]
  valid = jnp.arange(n)[None] < n - count
  weight = (jnp.arange(m)[None] < count).astype(jnp.float32)
  visible = jnp.where(valid, visible, visible[:, :1])
  return core.make_mask(tokens, visible, order[:, :m], weight[:, None], valid)


def random_blocks(
  key, tokens: core.Tokens, scores=None, progress=None, *, ratio: float, unit: int
) -> core.Mask:
  """Hides whole squares of unit x unit tokens, a uniform draw of ceil(ratio x squares) of them.

  SimMIM, section 3.2: squares of 32 pixels whatever the patch, so that neighbours of one patch do
  not give it away. Of a padded sample those squares count that hold a real token. InputError where
  squares do not tile the grid or nothing would be seen or hidden.
  """
  members = squares(tokens.grid, unit)  # [u unit^2]
  hidden = hidden_squares(len(members), ratio)
  if tokens.valid is not None:
    return padded.hide_units(key, tokens, members, lambda k: rounded_up(k, ratio))
  b = tokens.positions.shape[0]
  order = jnp.argsort(jax.random.uniform(key, (b, len(members))), axis=1)
  index = jnp.asarray(members)[order].reshape(b, -1)  # [b n], square after square
  m = hidden * unit**2
  return core.make_mask(tokens, index[:, m:], index[:, :m])


def grown(
  key,
  b: int,
  grid: tuple[int, ...],
  count: int | Float[Array, "b"],
  sizes: tuple,
  aspect: float,
  *,
  valid: Bool[Array, "b n"] | None = None,
) -> Bool[Array, "b h w"]:
  """Computes what blocks alone hide, at most `count` real cells.

  sizes: smallest and largest area of a block, floats or [b]. Blocks lie in the box around what is
  valid.
  """
  low, box = sizes[0], None
  if valid is not None:
    box, low = padded.box(valid, grid), low[:, None]

  def draw(i, carry):
    hidden, going = carry
    left = count - jnp.sum(hidden, (1, 2)).astype(jnp.float32)  # [b]
    budget = jnp.minimum(left, sizes[1])
    block = _rectangles(jax.random.fold_in(key, i), budget, low, aspect, grid, box)
    if valid is not None:
      block = block & valid.reshape(b, 1, *grid)
    found, accepted = _first(block, hidden, budget)
    going = going & accepted
    return hidden | (found & going[:, None, None]), going

  start = jnp.zeros((b, *grid), bool), jnp.ones((b,), bool)
  return jax.lax.fori_loop(0, DRAWS, draw, start)[0]


def hidden_count(grid: tuple[int, ...], ratio: float) -> int:
  """Computes round(ratio n); InputError where it leaves no visible or no masked token."""
  n = math.prod(grid)
  count = round(ratio * n)
  if len(grid) != 2 or not 0 < count < n:
    raise InputError(
      f"mask: ratio {ratio} hides {count} tokens of the grid {tuple(grid)}. Blocks need a 2-D "
      f"grid, and 1 to {n - 1} hidden tokens. Change `objective.mask.ratio` or the patch size."
    )
  return count


def _rectangles(
  key, budget: Array, low: float | Float[Array, "b 1"], aspect: float, grid, box=None
) -> Bool[Array, "b t h w"]:
  """Draws blocks of an area between `low` and the budget; empty where one would span the grid.

  box: (first row and column, sides) of where blocks may lie, see padded.box; None: on all of the
  grid.
  """
  h, w = grid if box is None else jnp.moveaxis(box[1][..., None].astype(jnp.float32), 1, 0)
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
  if box is not None:
    top, left = (x + box[0][:, i, None, None].astype(x.dtype) for i, x in enumerate((top, left)))
  rows, columns = (jnp.arange(side, dtype=jnp.float32)[None, None] for side in grid)
  down = (rows >= top) & (rows < top + height[..., None]) & fits[..., None]
  along = (columns >= left) & (columns < left + width[..., None])
  return down[..., :, None] & along[..., None, :]


def _place(key, extent: Array, side: int | Float[Array, "b 1"]) -> Array:
  """Draws where a block begins, uniform over all places at which it fits: [b t 1]."""
  room = side - extent + 1
  return jnp.minimum(jnp.floor(jax.random.uniform(key, extent.shape) * room), room - 1)[..., None]


def _first(block: Bool[Array, "b t h w"], hidden: Bool[Array, "b h w"], budget: Array):
  """Finds the first block that hides something new within the budget: (it [b h w], if any)."""
  new: Int[Array, "b t"] = jnp.sum(block & ~hidden[:, None], (2, 3))
  fit = (new > 0) & (new.astype(jnp.float32) <= budget[:, None])
  first = jnp.argmax(fit, 1)
  chosen = jnp.take_along_axis(block, first[:, None, None, None], axis=1)[:, 0]
  return chosen, jnp.any(fit, 1)


def _check_range(grid: tuple[int, ...], ratio: tuple[float, float]) -> None:
  most = math.floor(ratio[1] * math.prod(grid))
  if len(grid) != 2 or not 0 < ratio[0] <= ratio[1] or not 0 < most < math.prod(grid):
    raise InputError(
      f"mask: ratio {tuple(ratio)} on the grid {tuple(grid)}. Blocks need a 2-D grid, and a range "
      "(low, high) of shares between 0 and 1 that hides a token and leaves one. Change "
      "`objective.mask.ratio` or the patch size."
    )


def hidden_squares(squares: int, ratio: float) -> int:
  """Computes ceil(ratio x squares); InputError where it leaves no visible or no masked square."""
  hidden = rounded_up(squares, ratio)
  if not 0 < hidden < squares:
    raise InputError(
      f"mask ratio {ratio} hides {hidden} of {squares} squares. Allowed: above 0 to at most "
      f"{(squares - 1) / squares:.4g}. Change `objective.mask.ratio` or `objective.mask.unit`."
    )
  return hidden


def rounded_up(n: int, ratio: float) -> int:
  """Computes ceil(ratio n), but for a rounding error: 0.55 x 100 is a little more than 55."""
  return math.ceil(round(ratio * n, 6))


def squares(grid: tuple[int, ...], unit: int) -> np.ndarray:
  """Lists the tokens of each square of unit x unit tokens, both row by row: int32 [u unit^2]."""
  if len(grid) != 2 or unit < 1 or grid[0] % unit or grid[1] % unit:
    raise InputError(
      f"mask: squares of {unit} x {unit} tokens do not tile the grid {grid}. `objective.mask.unit` "
      "must divide both sides of a 2-D grid; 32 pixels over the patch size is published."
    )
  h, w = grid
  cells = np.arange(h * w, dtype=np.int32).reshape(h // unit, unit, w // unit, unit)
  return cells.transpose(0, 2, 1, 3).reshape(-1, unit**2)
