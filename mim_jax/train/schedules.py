"""Schedules: functions of progress in [0, 1], so that they do not depend on the number of steps."""

import jax.numpy as jnp
from jax import Array


def constant(progress, *, value: float) -> Array:
  """`value` throughout."""
  return jnp.full_like(jnp.asarray(progress, jnp.float32), value)


def cosine(
  progress, *, peak: float, end: float = 0.0, start: float = 0.0, warmup: float = 0.0
) -> Array:
  """Linear from `start` to `peak` over the share `warmup` of the run, then half a cosine to `end`.

  Evaluated at every step, not once an epoch (MAE, util/lr_sched.py of its reference).
  """
  progress = jnp.asarray(progress, jnp.float32)
  rising = start + (peak - start) * progress / max(warmup, 1e-12)
  rest = (progress - warmup) / max(1.0 - warmup, 1e-12)
  falling = end + (peak - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(rest, 0.0, 1.0)))
  return jnp.where(progress < warmup, rising, falling)


def linear(progress, *, start: float, end: float) -> Array:
  """Straight from `start` to `end`."""
  return start + (end - start) * jnp.asarray(progress, jnp.float32)
