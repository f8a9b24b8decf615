"""Schedules: functions of progress in [0, 1], so that they do not depend on the number of steps."""

import jax.numpy as jnp
from jax import Array


def constant(progress, *, value: float) -> Array:
  """`value` throughout."""
  return jnp.full_like(jnp.asarray(progress, jnp.float32), value)


def cosine(
  progress,
  *,
  peak: float,
  end: float = 0.0,
  start: float = 0.0,
  warmup: float = 0.0,
  share: float = 1.0,
) -> Array:
  """Linear from `start` to `peak` over the share `warmup` of the run, then half a cosine to `end`.

  Evaluated at every step, not once an epoch (MAE, util/lr_sched.py of its reference). With a
  `share` below 1 the run is over before the half cosine is: it stops short of `end` (CAPI).
  """
  progress = jnp.asarray(progress, jnp.float32)
  rising = start + (peak - start) * progress / max(warmup, 1e-12)
  rest = (progress - warmup) / max(1.0 - warmup, 1e-12)
  falling = end + (peak - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * share * jnp.clip(rest, 0.0, 1.0)))
  return jnp.where(progress < warmup, rising, falling)


def linear(progress, *, start: float, end: float, until: float = 1.0, stairs: int = 0) -> Array:
  """Straight from `start` to `end` over the share `until` of the run, then `end`.

  With `stairs` it stays as it is for each such part of the run, e.g. an epoch.
  """
  if stairs:  # rounding must not delay a stair by a step
    progress = jnp.floor(jnp.asarray(progress, jnp.float32) * stairs + 1e-4) / stairs
  return start + (end - start) * jnp.minimum(jnp.asarray(progress, jnp.float32) / until, 1.0)


def cosine_throughout(
  progress, *, peak: float, end: float = 0.0, start: float = 0.0, warmup: float = 0.0
) -> Array:
  """Half a cosine from `peak` to `end` over the whole run, but for a straight warm-up.

  The first share `warmup` goes from `start` to `peak`, then the rate steps down (SimMIM, Swin).
  """
  progress = jnp.asarray(progress, jnp.float32)
  rising = start + (peak - start) * progress / max(warmup, 1e-12)
  falling = end + (peak - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
  return jnp.where(progress < warmup, rising, falling)


def staircase(
  progress,
  *,
  peak: float,
  at: tuple[float, ...],
  factor: float = 0.1,
  start: float = 0.0,
  warmup: float = 0.0,
) -> Array:
  """Linear from `start` to `peak` over the share `warmup` of the run; x factor at each of `at`."""
  progress = jnp.asarray(progress, jnp.float32)
  rising = start + (peak - start) * progress / max(warmup, 1e-12)
  steps = sum(jnp.where(progress < share, 0.0, 1.0) for share in at)
  return jnp.where(progress < warmup, rising, peak * factor**steps)
