"""One training step as one pure function."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mim_jax import core
from mim_jax.train import state as state_lib


class StepFunctions(NamedTuple):
  """Holds what `update` needs besides state and batch.

  Attributes:
    forward: (params, stats, teacher, batch, step) -> (loss, (metrics, stats)).
    optimizer: an Optax transformation.
    teachers: {name: teacher}.
    learning_rate: schedule of progress, for the metrics.
    on_non_finite: "skip" continues after a step that was not finite; else the state stays.
    gather: (params, teacher) as they are used, from how they are sharded.
    divide: gradients sharded as parameters are.
  """

  forward: Callable
  optimizer: optax.GradientTransformation
  teachers: dict
  learning_rate: Callable
  on_non_finite: str = "stop"
  gather: Callable = lambda trees: trees
  divide: Callable = lambda tree: tree


def update(functions: StepFunctions, state: state_lib.TrainState, batch: dict, step: core.Step):
  """Computes (state, metrics) after one step.

  A step that is not finite changes nothing but `bad_step` (or, when it is to be skipped, `step`).
  """
  lossy = jax.value_and_grad(functions.forward, has_aux=True)
  params, teacher = functions.gather((state.params, state.teacher))
  (loss, (metrics, stats)), grads = lossy(params, state.stats, teacher, batch, step)
  grads = functions.divide(grads)
  updates, opt_state = functions.optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  teacher = {
    name: follower.update(state.teacher[name], params, step.progress)
    for name, follower in functions.teachers.items()
  }
  gradient_norm = optax.tree.norm(grads)
  metrics = dict(
    loss=loss,
    learning_rate=functions.learning_rate(step.progress),
    gradient_norm=gradient_norm,
    **metrics,
  )
  after = state_lib.TrainState(state.step + 1, params, opt_state, teacher, stats, state.bad_step)
  finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
  if functions.on_non_finite == "skip":
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
    state = dataclasses.replace(kept, step=after.step)
    return state, dict(metrics, bad_step=state.bad_step, skipped=(~finite).astype(jnp.float32))
  state = guard(state, after, finite)
  return state, dict(metrics, bad_step=state.bad_step)


def guard(
  before: state_lib.TrainState, after: state_lib.TrainState, finite
) -> state_lib.TrainState:
  """Selects `after` if this and all earlier steps were finite, else `before`, with `bad_step`."""
  healthy = before.bad_step < 0
  bad_step = jnp.where(finite | ~healthy, before.bad_step, before.step)
  kept = jax.tree.map(lambda new, old: jnp.where(finite & healthy, new, old), after, before)
  return dataclasses.replace(kept, bad_step=bad_step)
