"""Evaluations while training, which are due every so many steps and can't harm the run."""

from collections.abc import Callable
from typing import Any

import jax

from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.monitor import metrics


class Probe:
  """Evaluates the state every so many steps, at step 0 and at the last one.

  Training is bit-identical with and without a probe. The batches that are read ahead stay, and are
  read on meanwhile.
  """

  def __init__(self, make: Callable[[Any], dict[str, Callable]] | None, every: int, total: int):
    """Takes `make`: state -> {name: evaluation}, called by all processes.

    evaluation() -> {number: value} is called by the first. `every`: steps, 0 for never.
    """
    self._make, self._every, self._total = make, every, total
    self._told: set[str] = set()

  def due(self, step: int, meter: metrics.Meter) -> bool:
    """Tells whether the state after `step` steps is to be evaluated, and has not been."""
    if self._make is None or not self._every:
      return False
    if step % self._every and step != self._total:
      return False
    return not mesh.all_reduce_max(int(meter.probed(step)))

  def __call__(self, state, step: int) -> dict[str, float]:
    """Evaluates: {"eval/knn_accuracy": 0.9}; an evaluation that raises is logged, and left out."""
    found: dict[str, float] = {}
    with jax.transfer_guard("allow"):
      try:
        evaluations = self._make(state) if self._make else {}
      except Exception as error:
        self._tell("the in-training evaluations", step, error)
        evaluations = {}
      for name, evaluation in evaluations.items() if jax.process_index() == 0 else ():
        try:
          numbers = {f"{metrics.EVAL}{name}_{k}": float(v) for k, v in evaluation().items()}
        except Exception as error:  # training must not depend on what is only looked at
          self._tell(f"evaluation {name}", step, error)
        else:
          found.update(numbers)
      mesh.all_reduce_max()  # the others wait for the first
    return found

  def _tell(self, what: str, step: int, error: Exception) -> None:
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    text = f"{what} failed: {kind}{error}"
    if text not in self._told:
      self._told.add(text)
      metrics.tell(f"step {step}: {text}. Training continues untouched; this is said once.")


def interval(every: float, samples: int, batch_size: int) -> int:
  """Converts epochs between evaluations to steps. InputError below 0."""
  if every < 0:
    raise InputError(f"train.probe_every: {every} epochs, but it must be 0 (never) or more.")
  return max(1, round(every * samples / batch_size)) if every else 0
