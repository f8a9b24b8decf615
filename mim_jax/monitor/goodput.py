"""Goodput: the wall time of a run, by training steps and what keeps it from them."""

import contextlib
import time

KINDS = ("start", "compile", "data", "save", "evaluate", "steps")


class Clock:
  """Counts seconds by kind, over all calls that the run took so far; the rest is steps.

  Time lost with steps that had to be done again is not in it.
  """

  def __init__(self):
    self.seconds = dict.fromkeys(KINDS, 0.0)
    self._last, self._kind = time.monotonic(), "start"

  def add(self, seconds: dict) -> None:
    """Adds what earlier calls of the same run noted."""
    for kind, value in seconds.items():
      self.seconds[kind] += value

  def turn(self, kind: str) -> str:
    """Counts time as `kind` from now on; returns the kind before."""
    now, before = time.monotonic(), self._kind
    self.seconds[before] += now - self._last
    self._last, self._kind = now, kind
    return before

  @contextlib.contextmanager
  def during(self, kind: str):
    """Counts a with-block as `kind`."""
    before = self.turn(kind)
    try:
      yield
    finally:
      self.turn(before)

  def read(self) -> dict[str, float]:
    """Reads seconds by kind until now."""
    self.turn(self._kind)
    return dict(self.seconds)

  def goodput(self) -> float:
    """Computes the fraction of the time that went into steps."""
    seconds = self.read()
    return seconds["steps"] / max(sum(seconds.values()), 1e-9)
