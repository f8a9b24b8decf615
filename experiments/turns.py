"""Training steps timed in turns, so that what slows one slows all."""

import statistics
import time
from collections.abc import Callable

import jax

from mim_jax import experiment as experiment_lib
from mim_jax.devices import mesh
from mim_jax.devices import program as program_lib


class Step:
  """A training step of a config on one batch of its data, compiled and warm.

  Attributes:
    experiment: what was built.
    program: the compiled update.
    flops: floating-point operations of a step, as traced and counted by XLA.
    compile_seconds: what tracing and compiling took.
  """

  def __init__(self, config):
    self.experiment = experiment_lib.build(config)
    self.batches = self.experiment.spec.batches()
    self.batch = self.placed(next(self.batches))
    self.compile()
    self.state = self.experiment.trainable.init(jax.random.key(0))
    self(1)

  def compile(self) -> None:
    """Traces and compiles, or loads from the compilation cache."""
    began = time.perf_counter()
    abstract = self.experiment.trainable.abstract_state()
    lowered = program_lib.lower_update(self.experiment.trainable, abstract, self.batch)
    self.program = program_lib.compiled(self.experiment.trainable, lowered)
    self.compile_seconds = time.perf_counter() - began
    self.flops = program_lib.flops(lowered)

  def placed(self, batch: dict) -> dict:
    """A batch on the devices."""
    return mesh.to_devices(batch, self.experiment.spec.mesh)

  def __call__(self, steps: int = 1) -> float:
    """Seconds a step, of `steps` one after the other."""
    began = time.perf_counter()
    for _ in range(steps):
      self.state, metrics = self.program(self.state, self.batch)
    jax.block_until_ready(metrics)
    return (time.perf_counter() - began) / steps


def flops(config) -> float:
  """Counts the floating-point operations of a step of a config, which is traced, not compiled."""
  built = experiment_lib.build(config)
  abstract, batch = built.trainable.abstract_state(), next(built.spec.batches())
  return program_lib.flops(program_lib.lower_update(built.trainable, abstract, batch))


def alternate(turns: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
  """What each of `turns` returns, called one after the other in each of the rounds."""
  found: dict[str, list[float]] = {name: [] for name in turns}
  for _ in range(rounds):
    for name, turn in turns.items():
      found[name].append(turn())
  return found


def ratios(found: dict[str, list[float]], base: str) -> dict[str, list[float]]:
  """Quartiles of the ratios to `base`, round by round."""
  return {
    name: statistics.quantiles([a / b for a, b in zip(values, found[base], strict=True)], n=4)
    for name, values in found.items()
  }
