"""Optimizers made of Optax pieces, with rules by parameter name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from mim_jax.ops import promotion
from mim_jax.optim.rules import by_rule

DECAY = ((r"(bias|scale)$", 0.0), (r"(kernel|token)$", 1.0))


def adamw(
  total_steps: int,
  *,
  learning_rate: Callable,
  weight_decay: Callable,
  b1: float = 0.9,
  b2: float = 0.999,
  epsilon: float = 1e-8,
  clip: float | None = None,
  decay: tuple[tuple[str, float], ...] = DECAY,
  rate: tuple[tuple[str, float], ...] = ((".*", 1.0),),
) -> optax.GradientTransformation:
  """AdamW with decoupled weight decay; rules (regex, factor) say which parameters decay and how
  fast they learn.

  `learning_rate` and `weight_decay` are schedules of progress. `clip` bounds the global gradient
  norm.
  The default rules decay no bias and no norm (MAE: no 1-D parameter), by name because a scanned
  stack
  makes 1-D parameters 2-D.
  """
  steps = [optax.clip_by_global_norm(clip)] if clip else []
  steps += [
    optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon),
    decayed_weights(lambda count: weight_decay(count / total_steps), decay),
    scaled_by_name(rate),
    optax.scale_by_learning_rate(lambda count: learning_rate(count / total_steps)),
  ]
  return promotion.lenient(optax.chain(*steps))


def lamb(
  total_steps: int,
  *,
  learning_rate: Callable,
  weight_decay: Callable,
  b1: float = 0.9,
  b2: float = 0.999,
  epsilon: float = 1e-6,
  clip: float | None = None,
  decay: tuple[tuple[str, float], ...] = DECAY,
  rate: tuple[tuple[str, float], ...] = ((".*", 1.0),),
) -> optax.GradientTransformation:
  """LAMB (You et al., arXiv 1904.00962, algorithm 2): AdamW with steps as long as the parameter.

  Settings as in `adamw`. Each parameter that decays has its update, decay included, scaled to the
  norm of the parameter, without a cap; the others take AdamW's step, as in timm's LAMB.
  """
  steps = [optax.clip_by_global_norm(clip)] if clip else []
  steps += [
    optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon),
    decayed_weights(lambda count: weight_decay(count / total_steps), decay),
    as_long_as_the_parameter(decay),
    scaled_by_name(rate),
    optax.scale_by_learning_rate(lambda count: learning_rate(count / total_steps)),
  ]
  return promotion.lenient(optax.chain(*steps))


def as_long_as_the_parameter(rules) -> optax.GradientTransformation:
  """LAMB's trust ratio: updates times |parameter| / |update|, 1 where one of them is 0.

  Only for parameters with a factor in the rules.
  """

  def chosen(updates):
    return jax.tree.map(bool, by_rule(rules, updates, "optimizer.decay"))

  return optax.masked(optax.scale_by_trust_ratio(), chosen)


def decayed_weights(schedule: Callable, rules) -> optax.GradientTransformation:
  """Adds schedule(count) x factor x parameter to every update; the rules give the factor."""

  def init(params):
    by_rule(rules, params, "optimizer.decay")
    return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

  def update(updates, state, params=None):
    factors = by_rule(rules, params, "optimizer.decay")
    now = schedule(state.count)
    added = jax.tree.map(
      lambda u, p, f: u + (now * f).astype(u.dtype) * p.astype(u.dtype) if f else u,
      updates,
      params,
      factors,
    )
    return added, optax.ScaleByScheduleState(count=state.count + 1)

  return optax.GradientTransformation(init, update)


def scaled_by_name(rules) -> optax.GradientTransformation:
  """Multiplies every update by the factor that the rules give its parameter."""

  def update(updates, state, params=None):
    factors = by_rule(rules, updates, "optimizer.rate")
    return jax.tree.map(lambda u, f: u if f == 1.0 else u * f, updates, factors), state

  def init(params):
    by_rule(rules, params, "optimizer.rate")
    return optax.EmptyState()

  return optax.GradientTransformation(init, update)
