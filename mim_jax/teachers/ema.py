"""A slow copy of the parts."""

import dataclasses
from collections.abc import Callable

import jax


@dataclasses.dataclass(frozen=True)
class Ema:
  """teacher = momentum x teacher + (1 - momentum) x student after every update; starts as a copy.

  Attributes:
    momentum: a schedule of progress, e.g. 0.996 rising to 1.
  """

  momentum: Callable

  def start(self, params):
    """The teacher's first parameters: the student's."""
    return jax.tree.map(lambda p: p.copy(), params)

  def follow(self, teacher, params, progress):
    """The teacher after an update, in float32."""
    m = self.momentum(progress)
    return jax.tree.map(lambda t, p: t * m + p * (1.0 - m), teacher, params)
