"""Position embeddings of encoders and predictors. Letters: b, n tokens, k prefix, d, p.

A part of positions is no module: what it learns belongs to the module that holds it, which hands it
`draw(name, shape, init=None)`: a parameter of that module, `init` a word of `layers.init`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array

from mim_jax.errors import InputError
from mim_jax.ops import positions as position_ops
from mim_jax.ops import relative_positions, resize


@runtime_checkable
class Positions(Protocol):
  """Interface of absolute positions, for encoders and predictors."""

  def code(self, draw: Callable, where: Array, grid: tuple[int, ...], width: int) -> Array | None:
    """Encodes coordinates [b n p] of tokens on `grid`: [b n d], or None without positions."""
    ...

  def prefix(self, draw: Callable, count: int, width: int) -> Array | None:
    """Encodes the places of `count` class tokens: [1 k d], or None where they have none."""
    ...


@dataclasses.dataclass(frozen=True)
class SinCos:
  """Fixed sine-cosine positions (ops.sincos); class tokens have none, as in MAE."""

  def code(self, draw: Callable, where: Array, grid: tuple[int, ...], width: int) -> Array:
    """See Positions."""
    return position_ops.sincos(where, width)

  def prefix(self, draw: Callable, count: int, width: int) -> None:
    """See Positions."""
    return None


@dataclasses.dataclass(frozen=True)
class NoPositions:
  """No absolute positions: tokens have relative ones, or none at all."""

  def code(self, draw: Callable, where: Array, grid: tuple[int, ...], width: int) -> None:
    """See Positions."""
    return None

  def prefix(self, draw: Callable, count: int, width: int) -> None:
    """See Positions."""
    return None


@dataclasses.dataclass(frozen=True)
class Learned:
  """Learned positions of all tokens and of class tokens, resized to other grids.

  Attributes:
    grid: which they belong to, of one or two axes; None for that of the tokens.
    antialias, grid_offset: how they are resized, see ops.resize.bicubic.
  """

  grid: tuple[int, ...] | None = None
  antialias: bool = False
  grid_offset: float = 0.0

  def code(self, draw: Callable, where: Array, grid: tuple[int, ...], width: int) -> Array:
    """See Positions."""
    n = where.shape[1] if self.grid is None else math.prod(self.grid)
    table = jnp.asarray(draw("positions_table", (1, n, width)))
    if self.grid in (None, grid):
      return table
    if len(self.grid) != len(grid) or len(grid) not in (1, 2):
      raise InputError(
        f"learned positions: those of the grid {self.grid} can't be resized to {grid}. Both must "
        "have one axis, or both two; leave `positions.grid` at None for the tokens' own."
      )
    # A line is a column, whose single row of width 1 is unchanged.
    square = table.reshape(1, *(*self.grid, 1)[:2], width)
    sides = grid[0], (*grid, 1)[1]
    new = resize.bicubic(square, sides, antialias=self.antialias, grid_offset=self.grid_offset)
    return new.reshape(1, -1, width)

  def prefix(self, draw: Callable, count: int, width: int) -> Array:
    """See Positions."""
    return jnp.asarray(draw("class_positions", (1, count, width)))


@dataclasses.dataclass(frozen=True)
class RelativeTable:
  """A learned bias of attention for each offset between two tokens of a 2-D grid (BEiT).

  Attributes:
    each: whether every block has a table of its own; else all share one, as in pre-training.
  """

  each: bool = False

  def bias(
    self, draw: Callable, grid: tuple[int, ...], prefix: int, heads: int, depth: int
  ) -> Array:
    """Makes the bias of the logits, [heads k+n k+n], with `each` [depth heads k+n k+n]."""
    sides = (grid[0], grid[1])
    name, shape = "relative_table", (relative_positions.table_rows(sides, prefix), heads)
    if self.each:
      name, shape = "relative_tables", (depth, *shape)
    table = draw(name, shape, "zeros")
    index = relative_positions.table_index(sides, prefix)
    return jnp.moveaxis(jnp.take(table, index, axis=-2), -1, -3)


def fixed(name: str, shape: tuple[int, ...], init: str | None = None) -> Array:
  """Refuses to draw: for modules whose positions can have no parameters."""
  raise InputError("predictor.positions: this predictor takes fixed ones only, as layers.SinCos.")
