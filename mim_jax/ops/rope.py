"""Rotary position embeddings (RoPE): queries and keys are rotated by their positions.

Letters: b batch, n tokens, k registers, h heads, w width of a head, p coordinates.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from mim_jax.errors import InputError


def unit_coordinates(
  positions: Float[Array, "b n p"], grid: tuple[int, ...], valid: Bool[Array, "b n"] | None = None
) -> Float[Array, "b n p"]:
  """Scales positions on a grid to [0, 1], from its first to its last cell.

  The last is that of the real (`valid`) tokens, so that padding a sample does not shrink it.
  """
  if len(grid) != positions.shape[-1]:
    raise InputError(
      f"rotary positions: {positions.shape[-1]} coordinates do not lie on the grid {grid}"
    )
  if valid is not None:
    last = jnp.max(positions, 1, keepdims=True, where=valid[..., None], initial=1.0)
    return positions / last
  last = jnp.asarray([max(1, side - 1) for side in grid], jnp.float32)
  return positions / last[None, None]


def edge(
  coordinates: Float[Array, "b n p"], count: int, valid: Bool[Array, "b n"] | None = None
) -> Float[Array, "b k p"]:
  """Places `count` registers evenly around the bounding box of an image's (valid) coordinates.

  The walk starts at the first corner and goes down its first axis; four sides, so `count` must be
  a multiple of 4 (InputError). CAPI places its registers so, section 3.3. On a line they stand
  evenly from its first to its last token. InputError for more than two coordinates.
  """
  unit = _walk(coordinates.shape[-1], count)
  real = None if valid is None else valid[..., None]
  low = jnp.min(coordinates, 1, keepdims=True, where=real, initial=math.inf)
  high = jnp.max(coordinates, 1, keepdims=True, where=real, initial=-math.inf)
  if valid is not None:  # where nothing is real, all stand at 0
    some = jnp.any(valid, 1)[:, None, None]
    low, high = jnp.where(some, low, 0.0), jnp.where(some, high, 0.0)
  return low + (high - low) * jnp.asarray(unit)[None]


def _walk(p: int, count: int) -> np.ndarray:
  """Lists `count` places on a line from 0 to 1, or around the unit square: [k p], float32."""
  if p == 1:
    return np.linspace(0.0, 1.0, count, dtype=np.float32)[:, None]
  if p != 2:
    raise InputError(
      f"registers: they stand on a line or around a rectangle, not among {p} coordinates. Use "
      "`encoder.registers=0`."
    )
  if count % 4:
    raise InputError(f"registers: {count} do not spread over 4 sides. Use a multiple of 4.")
  side = np.arange(count // 4) / max(1, count // 4)
  zero, one = np.zeros_like(side), np.ones_like(side)
  walk = [(side, zero), (one, side), (1 - side, one), (zero, 1 - side)]
  return np.concatenate([np.stack(pair, -1) for pair in walk]).astype(np.float32)


def angles(
  coordinates: Float[Array, "b n p"], width: int, freq_range: tuple[float, float]
) -> Float[Array, "b n w"]:
  """Computes rotation angles of the `width` channels of a head, radians, float32.

  Each coordinate has width / p channels: a list of frequencies, twice. They run geometrically from
  freq_range[0] to freq_range[1] turns a unit, both included. InputError where the width has no such
  list.
  """
  p = coordinates.shape[-1]
  if width % (2 * p):
    raise InputError(
      f"rotary positions: a head of width {width} must be a multiple of {2 * p} for {p} coordinates"
    )
  rates = 2 * np.pi * np.geomspace(freq_range[0], freq_range[1], width // (2 * p))
  turns = coordinates[..., None] * jnp.asarray(np.tile(rates, 2), jnp.float32)[None, None, None]
  return turns.reshape(*coordinates.shape[:2], width)


def rotate(
  x: Float[Array, "b n h w"], angle: Float[Array, "b n w"], planes: int
) -> Float[Array, "b n h w"]:
  """Rotates queries or keys by `angle`, in float32, returned in their own type.

  `planes` is in how many pieces the channels are cut before the first half of each piece is paired
  with its second. With one piece a coordinate both of a pair turn by the same angle: a rotation, so
  that products depend on differences of coordinates alone. With a single piece a row's angle meets
  a column's: no rotation, but what CAPI's published weights were trained with.
  """
  wide = x.astype(jnp.float32)
  halves = wide.reshape(*x.shape[:-1], planes, 2, -1)
  turned = jnp.stack([-halves[..., 1, :], halves[..., 0, :]], -2).reshape(x.shape)
  angle = angle[:, :, None]
  return (wide * jnp.cos(angle) + turned * jnp.sin(angle)).astype(x.dtype)
