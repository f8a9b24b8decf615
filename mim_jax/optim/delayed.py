"""AdamW for self-distillation: clipping by parameter, and parameters that start later."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mim_jax.ops import promotion
from mim_jax.optim import optimizers
from mim_jax.optim.rules import by_rule


def late_adamw(
  total_steps: int,
  *,
  learning_rate: Callable,
  weight_decay: Callable,
  b1: float = 0.9,
  b2: float = 0.999,
  epsilon: float = 1e-8,
  clip: float | None = None,
  decay: tuple[tuple[str, float], ...] = optimizers.DECAY,
  late: tuple[tuple[str, float], ...] = (),
) -> optax.GradientTransformation:
  """`optimizers.adamw`, but `clip` bounds the gradient norm of each parameter by itself.

  Parameters that `late` names, (regex, share of the run), stay as they are until then, undecayed,
  and begin with fresh moments. Source: DINO and iBOT (clip_gradients, cancel_gradients_last_layer).
  """
  late = (*late, (".*", 0.0))
  starts = {f"group_{i}": share * total_steps for i, (_, share) in enumerate(late)}
  groups = tuple((pattern, f"group_{i}") for i, (pattern, _) in enumerate(late))
  adam = optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon)
  steps = [clipped_each(clip)] if clip else []
  steps += [
    optax.partition(
      {name: waiting(adam, start) for name, start in starts.items()},
      lambda params: by_rule(groups, params, "optimizer.late"),
    ),
    optimizers.decayed_weights(lambda count: weight_decay(count / total_steps), decay),
    optax.scale_by_learning_rate(lambda count: learning_rate(count / total_steps)),
    held(tuple((pattern, share * total_steps) for pattern, share in late)),
  ]
  return promotion.lenient(optax.chain(*steps))


def clipped_each(limit: float) -> optax.GradientTransformation:
  """Every gradient on its own scaled to a norm of at most `limit`."""

  def shorten(gradient):
    norm = jnp.sqrt(jnp.sum(jnp.square(gradient)))
    return gradient * jnp.minimum(1.0, limit / (norm + 1e-6))

  return optax.stateless(lambda updates, _: jax.tree.map(shorten, updates))


class Waiting(NamedTuple):
  """Attributes: updates asked for so far, int32 scalar, and the state of what waits."""

  asked: jax.Array
  inner: Any


def waiting(inner: optax.GradientTransformation, start: float) -> optax.GradientTransformation:
  """`inner`, whose state stays as it began until update number `start`."""

  def init(params):
    return Waiting(jnp.zeros([], jnp.int32), inner.init(params))

  def update(updates, state, params=None):
    updates, after = inner.update(updates, state.inner, params)
    begun = state.asked >= start
    after = jax.tree.map(lambda new, old: jnp.where(begun, new, old), after, state.inner)
    return updates, Waiting(state.asked + 1, after)

  return optax.GradientTransformation(init, update)


def held(starts: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
  """Updates of 0 until update number `start`, by (regex, start)."""

  def init(params):
    by_rule(starts, params, "optimizer.late")
    return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

  def update(updates, state, params=None):
    begin = by_rule(starts, updates, "optimizer.late")
    updates = jax.tree.map(
      lambda u, start: jnp.where(state.count >= start, u, 0.0) if start else u, updates, begin
    )
    return updates, optax.ScaleByScheduleState(count=state.count + 1)

  return optax.GradientTransformation(init, update)
