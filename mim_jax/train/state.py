"""The training state, which a run carries from step to step."""

import dataclasses
from typing import Any

import jax

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Holds all that an update reads and writes.

  Attributes:
    step: int32 scalar, updates done.
    params: {part: parameters}, float32.
    opt_state: of the optimizer.
    teacher: {name: parameters} of EMA teachers, e.g. "ema"; may be {}.
    stats: other collections of the parts (batch statistics, centres); may be {}.
    bad_step: int32 scalar, the step whose loss or gradient was not finite, -1 while there is none.
      From then on updates change nothing, so that the state before the fault is kept.
  """

  step: Array
  params: Any
  opt_state: Any
  teacher: Any
  stats: Any
  bad_step: Array


def count(tree) -> int:
  """Counts the numbers in a tree of arrays (or of their shapes)."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))
