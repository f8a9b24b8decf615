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

  def init(self, params):
    """The teacher's first parameters: the student's; None while there are none."""
    return jax.tree.map(lambda p: p.copy(), params)

  def update(self, teacher, params, progress):
    """The teacher after an update, in float32."""
    m = self.momentum(progress)
    return jax.tree.map(lambda t, p: t * m + p * (1.0 - m), teacher, params)

  def bind(self, parts, teacher, stats):
    """The parts with the slow parameters; the student itself while there are none."""
    return parts if teacher is None else parts.bind({"params": teacher, **stats})
