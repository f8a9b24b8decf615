"""Schedules: functions of progress in [0, 1], so that they do not depend on the number of steps."""

import jax.numpy as jnp
from jax import Array


def constant(progress, *, value: float) -> Array:
  """Returns `value` throughout the run."""
  return jnp.full_like(jnp.asarray(progress, jnp.float32), value)


def cosine(
  progress,
  *,
  peak: float,
  end: float = 0.0,
  start: float = 0.0,
  warmup: float = 0.0,
  truncate: float = 1.0,
) -> Array:
  """Warms up linearly from `start` to `peak`, then decays by half a cosine to `end`.

  The warm-up takes the fraction `warmup` of the run. Evaluated at every step, not once an epoch
  (MAE, util/lr_sched.py of its reference). `truncate` < 1 stops the cosine early, above `end`
  (CAPI's truncate_cos).
  """
  progress = jnp.asarray(progress, jnp.float32)
  rest = (progress - warmup) / max(1.0 - warmup, 1e-12)
  falling = _half_cosine(jnp.pi * truncate * jnp.clip(rest, 0.0, 1.0), peak, end)
  return _warm_up(progress, falling, start=start, peak=peak, warmup=warmup)


def linear(
  progress, *, start: float, end: float, end_at: float = 1.0, step_per_epoch: int = 0
) -> Array:
  """Interpolates linearly from `start` to `end` over the fraction `end_at` of the run, then holds.

  `step_per_epoch`: the number of epochs of the run, to change once an epoch; 0 changes every step.
  """
  if step_per_epoch:  # rounding must not delay an epoch by a step
    progress = jnp.asarray(progress, jnp.float32)
    progress = jnp.floor(progress * step_per_epoch + 1e-4) / step_per_epoch
  return start + (end - start) * jnp.minimum(jnp.asarray(progress, jnp.float32) / end_at, 1.0)


def linear_decay(
  progress, *, peak: float, end: float = 0.0, start: float = 0.0, warmup: float = 0.0
) -> Array:
  """Decays from `peak` to `end` by a line over the whole run, under a linear warm-up from `start`.

  After the first fraction `warmup` the value steps down to that line (BERT, optimization.py of its
  reference).
  """
  progress = jnp.asarray(progress, jnp.float32)
  falling = peak + (end - peak) * jnp.minimum(progress, 1.0)
  return _warm_up(progress, falling, start=start, peak=peak, warmup=warmup)


def cosine_throughout(
  progress, *, peak: float, end: float = 0.0, start: float = 0.0, warmup: float = 0.0
) -> Array:
  """Decays from `peak` to `end` by half a cosine over the whole run, under a linear warm-up.

  The first fraction `warmup` goes from `start` to `peak`; then the value steps down to the cosine,
  which has gone on meanwhile (SimMIM, Swin).
  """
  progress = jnp.asarray(progress, jnp.float32)
  falling = _half_cosine(jnp.pi * progress, peak, end)
  return _warm_up(progress, falling, start=start, peak=peak, warmup=warmup)


def staircase(
  progress,
  *,
  peak: float,
  at: tuple[float, ...],
  factor: float = 0.1,
  start: float = 0.0,
  warmup: float = 0.0,
) -> Array:
  """Warms up linearly from `start` to `peak`, then multiplies by `factor` at each of `at`.

  `warmup` and `at` are fractions of the run.
  """
  progress = jnp.asarray(progress, jnp.float32)
  steps = sum(jnp.where(progress < fraction, 0.0, 1.0) for fraction in at)
  return _warm_up(progress, peak * factor**steps, start=start, peak=peak, warmup=warmup)


def _warm_up(
  progress: Array, then: Array | float, *, start: float, peak: float, warmup: float
) -> Array:
  """Rises linearly from `start` to `peak` over the fraction `warmup` of the run; `then` follows."""
  rising = start + (peak - start) * progress / max(warmup, 1e-12)
  return jnp.where(progress < warmup, rising, then)


def _half_cosine(angle: Array, peak: float, end: float) -> Array:
  return end + (peak - end) * 0.5 * (1.0 + jnp.cos(angle))
