"""Steps that are not finite (NaN, inf): policies, errors and diagnostics."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import optax

from mim_jax import errors
from mim_jax.devices import mesh
from mim_jax.optim import rules

POLICIES = ("stop", "skip", "rewind")
REWINDS = 3  # in one call
SKIPS = 10  # in a row
REMEDY = (
  "Lower the learning rate, clip gradients (optimizer.clip), or train in float32 (train.dtype)."
)


class NonFiniteError(errors.RunError):
  """Reports a step whose loss or gradient was not finite; the state before that step was kept.

  Attributes: `step`, 0 = the first.
  """

  def __init__(self, step: int, text: str):
    super().__init__(text)
    self.step = step


def check_policy(policy: str) -> None:
  """Checks that `policy` is known. Errors: InputError."""
  if policy not in POLICIES:
    raise errors.unknown("train.on_non_finite", policy, POLICIES)


def check_finite(bad_step) -> None:
  """Raises NonFiniteError if `bad_step` (0 = the first step, -1 = none) names a step."""
  if bad_step >= 0:
    raise NonFiniteError(
      int(bad_step),
      f"step {int(bad_step) + 1}: loss or gradient is not finite. The update was not applied, and "
      f"the last checkpoint is untouched. {REMEDY}",
    )


def diagnose(trainable, state, batch: dict, number: int, *, step: int, folder: pathlib.Path):
  """Writes diagnostics/step_N.json on step number `step`, which was not finite; returns the path.

  `state`: as it was before that step. `batch`: host arrays of batch number `number`. It holds the
  loss, the samples of the batch and the norm of every parameter and gradient. This compiles a
  program of its own: the run is over.
  """
  at = trainable.spec.step(step)

  def look(state, batch):
    lossy = jax.value_and_grad(trainable.forward, has_aux=True)
    (loss, _), grads = lossy(state.params, state.stats, state.teacher, batch, at)
    norms = [jax.tree.map(lambda x: jnp.linalg.norm(x.ravel()), t) for t in (state.params, grads)]
    return loss, optax.tree.norm(grads), *norms

  found = jax.jit(look)(state, mesh.to_devices(batch, trainable.spec.mesh))
  loss, norm, params, grads = jax.device_get(found)
  told = dict(
    step=step + 1,
    batch=number,
    samples=[int(i) for i in trainable.spec.samples(number)],
    seed=trainable.spec.config.seed,
    loss=number_or_word(loss),
    gradient_norm=number_or_word(norm),
    parameter_norms={n: number_or_word(x) for n, x in rules.named_leaves(params)},
    gradient_norms={n: number_or_word(x) for n, x in rules.named_leaves(grads)},
  )
  place = folder / "diagnostics"
  file = place / f"step_{told['step']}.json"
  if jax.process_index() == 0:
    place.mkdir(exist_ok=True)
    file.write_text(json.dumps(told, indent=2) + "\n")
  return file


def number_or_word(x) -> float | str:
  """Converts to a float, or to "nan", "inf", "-inf": JSON has no such numbers."""
  x = float(x)
  return x if math.isfinite(x) else str(x)


def finite_or_none(x) -> float | None:
  """Converts to a float, or to None (null in JSON) where it is not finite."""
  x = float(x)
  return x if math.isfinite(x) else None
