"""Learned positions of sequences, looked up by number. Letters: b, n tokens, k prefix, d width."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from mim_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class SequencePositions:
  """Learned positions of up to `length` tokens in a row, and of class tokens (BERT).

  A shorter sequence has the first of them: unlike the positions of images, they are never resized.
  InputError for a longer one, and for tokens of more than one coordinate.

  Attributes:
    length: how many there are.
  """

  length: int

  def code(self, draw: Callable, where: Array, grid: tuple[int, ...], width: int) -> Array:
    """See Positions."""
    n, p = where.shape[1:]
    if n > self.length or p != 1:
      raise InputError(
        f"positions: {n} tokens of {p} coordinates; there are positions of sequences of up to "
        f"{self.length} tokens. Cut them shorter, or set positions.length before training."
      )
    table = jnp.asarray(draw("positions_table", (1, self.length, width)))
    return jnp.take(table[0], where[..., 0].astype(jnp.int32), axis=0, mode="clip")

  def prefix(self, draw: Callable, count: int, width: int) -> Array:
    """See Positions."""
    return jnp.asarray(draw("class_positions", (1, count, width)))
