"""AdamW for self-distillation: per-parameter gradient clipping, and parameters that start later."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mim_jax.optim import optimizers
from mim_jax.optim.rules import match_rules


def late_adamw(
  total_steps: int,
  *,
  learning_rate: Callable,
  weight_decay: Callable,
  b1: float = 0.9,
  b2: float = 0.999,
  epsilon: float = 1e-8,
  clip: float | None = None,
  weight_decay_rules: tuple[tuple[str, float], ...] = optimizers.DECAY,
  start_rules: tuple[tuple[str, float], ...] = (),
) -> optax.GradientTransformation:
  """Builds AdamW with per-parameter gradient clipping and parameters that start training later.

  learning_rate, weight_decay, b1, b2, epsilon, weight_decay_rules: see `optimizers.adamw`.
  clip: bound of the gradient norm of each parameter by itself; None for no clipping.
  start_rules: (regex, fraction of the run) by parameter name; until then such a parameter is
    frozen, undecayed, and it begins with fresh moments.

  Source: DINO and iBOT (clip_gradients, cancel_gradients_last_layer).
  """
  rules = (*start_rules, (".*", 0.0))
  starts = {f"group_{i}": fraction * total_steps for i, (_, fraction) in enumerate(rules)}
  groups = tuple((pattern, f"group_{i}") for i, (pattern, _) in enumerate(rules))
  adam = optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon)
  return optimizers.chain(
    total_steps,
    [clip_per_parameter(clip)] if clip else [],
    optax.partition(
      {name: freeze_state_until(adam, start) for name, start in starts.items()},
      lambda params: match_rules(groups, params, "optimizer.start_rules"),
    ),
    learning_rate=learning_rate,
    weight_decay=weight_decay,
    weight_decay_rules=weight_decay_rules,
    last=[zero_until(tuple((pattern, fraction * total_steps) for pattern, fraction in rules))],
  )


def clip_per_parameter(limit: float) -> optax.GradientTransformation:
  """Clips the gradient of each parameter to a norm of at most `limit`."""

  def shorten(gradient):
    norm = jnp.sqrt(jnp.sum(jnp.square(gradient)))
    return gradient * jnp.minimum(1.0, limit / (norm + 1e-6))

  return optax.stateless(lambda updates, _: jax.tree.map(shorten, updates))


class FreezeState(NamedTuple):
  """Holds the state of `freeze_state_until`.

  Attributes: update count (`asked`, int32 scalar) and inner optimizer state.
  """

  asked: jax.Array
  inner: Any


def freeze_state_until(
  inner: optax.GradientTransformation, start: float
) -> optax.GradientTransformation:
  """Wraps `inner` so that its state stays as initialized until update number `start`."""

  def init(params):
    return FreezeState(jnp.zeros([], jnp.int32), inner.init(params))

  def update(updates, state, params=None):
    updates, after = inner.update(updates, state.inner, params)
    begun = state.asked >= start
    after = jax.tree.map(lambda new, old: jnp.where(begun, new, old), after, state.inner)
    return updates, FreezeState(state.asked + 1, after)

  return optax.GradientTransformation(init, update)


def zero_until(starts: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
  """Sets the updates of each parameter to 0 until update number `start`, by (regex, start)."""

  def init(params):
    match_rules(starts, params, "optimizer.start_rules")
    return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

  def update(updates, state, params=None):
    begin = match_rules(starts, updates, "optimizer.start_rules")
    updates = jax.tree.map(
      lambda u, start: jnp.where(state.count >= start, u, 0.0) if start else u, updates, begin
    )
    return updates, optax.ScaleByScheduleState(count=state.count + 1)

  return optax.GradientTransformation(init, update)
