"""EMA teacher."""

import dataclasses
from collections.abc import Callable

import jax


@dataclasses.dataclass(frozen=True)
class Ema:
  """EMA teacher: momentum x teacher + (1 - momentum) x student after every update.

  It starts as a copy of the student.

  Attributes:
    momentum: a schedule of progress, e.g. 0.996 rising to 1.
  """

  momentum: Callable

  def init(self, params):
    """Copies the student's parameters; None while there are none."""
    return jax.tree.map(lambda p: p.copy(), params)

  def update(self, teacher, params, progress):
    """Moves the teacher towards the student, in float32."""
    m = self.momentum(progress)
    return jax.tree.map(lambda t, p: t * m + p * (1.0 - m), teacher, params)

  def bind(self, parts, teacher, stats):
    """Binds the parts to the teacher's parameters; the student itself while there are none."""
    return parts if teacher is None else parts.bind({"params": teacher, **stats})
