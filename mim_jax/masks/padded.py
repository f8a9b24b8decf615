"""Keep masks to the tokens that exist. Letters: b batch, n tokens, k entries, u units, s of a unit.

Padding (`Tokens.valid` False) is neither shown nor asked for. Counts follow the real tokens of each
sample; lists are as long as for n real tokens, and what fills them up repeats a listed token.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.ops import gather


def partition(tokens: core.Tokens, noise: Array, visible: Callable[[int], int]) -> core.Mask:
  """Shows the tokens of the least noise [b n], visible(k) of k real ones, and asks for the rest."""
  n = noise.shape[1]
  v = visible(n)
  order = jnp.argsort(last(noise, tokens.valid), axis=1)
  if tokens.valid is None:
    return core.make_mask(tokens, order[:, :v], order[:, v:])
  return split(tokens, order, shown(visible, real_tokens(tokens.valid), n), v, n - v)


def split(
  tokens: core.Tokens, order: Array, count: Array, v: int, m: int, asked: Array | None = None
) -> core.Mask:
  """Shows the first `count` [b] tokens of an order [b n] that ends in padding, asks for the rest.

  v, m: how long the lists are. asked: how many of the rest are asked for, [b]; None for all.
  """
  end = real_tokens(tokens.valid) if asked is None else count + asked
  visible, valid = listed(order, jnp.zeros_like(count), count, v)
  masked, used = listed(order, count, end, m)
  return core.make_mask(tokens, visible, masked, used[:, None].astype(jnp.float32), valid)


def listed(
  order: Int[Array, "b n"], start: Int[Array, "b"], end: Int[Array, "b"], length: int
) -> tuple[Int[Array, "b k"], Bool[Array, "b k"]]:
  """Lists order[start:end], at most `length` of it: (entries, which are real; else the first)."""
  place = start[:, None] + jnp.arange(length, dtype=start.dtype)[None]
  real = place < end[:, None]
  place = jnp.minimum(jnp.where(real, place, start[:, None]), order.shape[1] - 1)
  return jnp.take_along_axis(order, place, axis=1), real


def last(noise: Array, valid: Array | None) -> Array:
  """Puts padding behind all real tokens of an ascending sort."""
  return noise if valid is None else jnp.where(valid, noise, jnp.inf)


def real_tokens(valid: Bool[Array, "b n"]) -> Int[Array, "b"]:
  """Counts the real tokens of each sample."""
  return jnp.sum(valid, 1, dtype=jnp.int32)


def looked_up(count: Callable[[int], int], real: Int[Array, "b"], n: int) -> Int[Array, "b"]:
  """Computes count(k) of each sample's k <= n tokens, rounded as Python rounds it for n."""
  return jnp.asarray([count(k) for k in range(n + 1)], jnp.int32)[real]


def shown(visible: Callable[[int], int], real: Int[Array, "b"], n: int) -> Int[Array, "b"]:
  """Computes visible(k) of each sample's k tokens, at least one, and of two or more not all."""
  return jnp.where(real > 1, jnp.clip(looked_up(visible, real, n), 1, real - 1), real)


def hide_units(
  key, tokens: core.Tokens, members: Int[np.ndarray, "u s"], hidden: Callable[[int], int]
) -> core.Mask:
  """Hides hidden(k) of the k units that hold a real token, each with all its real tokens.

  members: the tokens of each unit. Where one unit holds all real tokens, it is divided.
  """
  (u, s), n, real = members.shape, members.size, real_tokens(tokens.valid)
  exists = jnp.any(tokens.valid[:, members], -1)  # [b u]
  noise = jax.random.uniform(key, exists.shape)
  rank = gather.inverse(jnp.argsort(last(noise, exists), axis=1))
  units = real_tokens(exists)
  gone = rank < (units - shown(lambda k: k - hidden(k), units, u))[:, None]
  unit = np.empty(n, np.int32)
  unit[members] = np.arange(u, dtype=np.int32)[:, None]
  gone = gone[:, unit] & tokens.valid
  alone = shown(lambda k: k - hidden(k), jnp.minimum(real, s), s)
  count = jnp.where(units > 1, real - real_tokens(gone), alone)
  drawn = jax.random.uniform(jax.random.fold_in(key, 1), gone.shape)
  order = jnp.argsort(last(jnp.where(gone, 1.0 + drawn, drawn), tokens.valid), axis=1)
  m = hidden(u) * s
  return split(tokens, order, count, n - m, m)


def box(
  valid: Bool[Array, "b n"], grid: tuple[int, ...]
) -> tuple[Int[Array, "b 2"], Int[Array, "b 2"]]:
  """Finds the box around the real tokens of a 2-D grid: (its first row and column, its sides)."""
  cells = valid.reshape(-1, *grid)
  first, sides = [], []
  for axis, length in ((2, grid[0]), (1, grid[1])):
    used = jnp.any(cells, axis)  # [b length]
    first.append(jnp.argmax(used, 1))
    sides.append(length - jnp.argmax(used[:, ::-1], 1) - first[-1])
  return jnp.stack(first, 1).astype(jnp.int32), jnp.stack(sides, 1).astype(jnp.int32)


def check_grid(name: str, grid: tuple[int, ...]) -> None:
  """Raises an InputError unless the grid has rows and columns."""
  if len(grid) != 2:
    raise InputError(
      f"{name}: tokens must lie on a 2-D grid, not on {tuple(grid)}. Use a tokenizer of images, or "
      "a mask that needs no rows and columns such as masks.random."
    )
