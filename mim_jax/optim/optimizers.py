"""Optimizers made of Optax pieces, with rules by parameter name."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import optax

from mim_jax.ops import promotion
from mim_jax.optim.rules import match_rules

DECAY = (
  (r"(bias|scale)$", 0.0),
  # What says where a token is does not decay, as in timm and BEiT.
  (r"(class_positions|positions_table|relative_tables?)$", 0.0),
  (r"(kernel|token)$", 1.0),
)


def adamw(
  total_steps: int,
  *,
  learning_rate: Callable,
  weight_decay: Callable,
  b1: float = 0.9,
  b2: float = 0.999,
  epsilon: float = 1e-8,
  clip: float | None = None,
  weight_decay_rules: tuple[tuple[str, float], ...] = DECAY,
  lr_rules: tuple[tuple[str, float], ...] = ((".*", 1.0),),
) -> optax.GradientTransformation:
  """Builds AdamW with decoupled weight decay and per-parameter decay and learning-rate factors.

  learning_rate, weight_decay: schedules of progress.
  b1, b2, epsilon: of Adam.
  clip: bound of the global gradient norm; None for no clipping.
  weight_decay_rules: (regex, factor) by parameter name, the first that is found. The default decays
    no bias and no norm (MAE: no 1-D parameter), by name because a scanned stack makes 1-D
    parameters 2-D, and no learned positions.
  lr_rules: likewise, factors of the learning rate.
  """
  return chain(
    total_steps,
    [optax.clip_by_global_norm(clip)] if clip else [],
    optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon),
    learning_rate=learning_rate,
    weight_decay=weight_decay,
    weight_decay_rules=weight_decay_rules,
    scaling=[scale_by_rules(lr_rules)],
  )


def lamb(
  total_steps: int,
  *,
  learning_rate: Callable,
  weight_decay: Callable,
  b1: float = 0.9,
  b2: float = 0.999,
  epsilon: float = 1e-6,
  clip: float | None = None,
  weight_decay_rules: tuple[tuple[str, float], ...] = DECAY,
  lr_rules: tuple[tuple[str, float], ...] = ((".*", 1.0),),
) -> optax.GradientTransformation:
  """Builds LAMB: AdamW whose updates are scaled by the trust ratio |parameter| / |update|.

  Settings as in `adamw`. Each parameter that decays has its update, decay included, scaled to the
  norm of the parameter, without a cap; the others take AdamW's step, as in timm's LAMB. Source: You
  et al., arXiv 1904.00962, algorithm 2.
  """
  return chain(
    total_steps,
    [optax.clip_by_global_norm(clip)] if clip else [],
    optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon),
    learning_rate=learning_rate,
    weight_decay=weight_decay,
    weight_decay_rules=weight_decay_rules,
    scaling=[scale_by_trust_ratio(weight_decay_rules), scale_by_rules(lr_rules)],
  )


def chain(
  total_steps: int,
  clipping: Iterable[optax.GradientTransformation],
  moments: optax.GradientTransformation,
  *,
  learning_rate: Callable,
  weight_decay: Callable,
  weight_decay_rules: tuple[tuple[str, float], ...],
  scaling: Iterable[optax.GradientTransformation] = (),
  last: Iterable[optax.GradientTransformation] = (),
) -> optax.GradientTransformation:
  """Chains clipping, moments, weight decay, scaling and learning rate, in this order.

  total_steps: of the run, by which the schedules' progress is counted.
  clipping, moments: transformations of the gradients.
  learning_rate, weight_decay: schedules of progress.
  weight_decay_rules: see `adamw`.
  scaling: transformations of the update, decay included, before the learning rate.
  last: transformations behind the learning rate.
  """
  return promotion.lenient(
    optax.chain(
      *clipping,
      moments,
      add_decayed_weights(lambda count: weight_decay(count / total_steps), weight_decay_rules),
      *scaling,
      optax.scale_by_learning_rate(lambda count: learning_rate(count / total_steps)),
      *last,
    )
  )


def scale_by_trust_ratio(rules) -> optax.GradientTransformation:
  """Scales updates by LAMB's trust ratio |parameter| / |update|, 1 where one of them is 0.

  Only for parameters with a factor in the rules.
  """

  def chosen(updates):
    return jax.tree.map(bool, match_rules(rules, updates, "optimizer.weight_decay_rules"))

  return optax.masked(optax.scale_by_trust_ratio(), chosen)


def add_decayed_weights(schedule: Callable, rules) -> optax.GradientTransformation:
  """Adds schedule(count) x factor x parameter to every update; the rules give the factor."""

  def init(params):
    match_rules(rules, params, "optimizer.weight_decay_rules")
    return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

  def update(updates, state, params=None):
    factors = match_rules(rules, params, "optimizer.weight_decay_rules")
    now = schedule(state.count)
    added = jax.tree.map(
      lambda u, p, f: u + (now * f).astype(u.dtype) * p.astype(u.dtype) if f else u,
      updates,
      params,
      factors,
    )
    return added, optax.ScaleByScheduleState(count=state.count + 1)

  return optax.GradientTransformation(init, update)


def scale_by_rules(rules) -> optax.GradientTransformation:
  """Multiplies every update by the factor that the rules give its parameter."""

  def update(updates, state, params=None):
    factors = match_rules(rules, updates, "optimizer.lr_rules")
    return jax.tree.map(lambda u, f: u if f == 1.0 else u * f, updates, factors), state

  def init(params):
    match_rules(rules, params, "optimizer.lr_rules")
    return optax.EmptyState()

  return optax.GradientTransformation(init, update)
