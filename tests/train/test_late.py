"""Clipping by parameter, and parameters that start later."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mim_jax import schedules
from mim_jax.errors import InputError
from mim_jax.optim import delayed

CONSTANT = functools.partial(schedules.constant, value=0.1)
NOTHING = functools.partial(schedules.constant, value=0.0)


def params():
  return {"body": {"kernel": jnp.asarray([1.0, -2.0])}, "head": {"codes": jnp.asarray([3.0, 1.0])}}


@jax.numpy_dtype_promotion("standard")  # Optax counts in int32
def trace(transform, gradients):
  """Parameters after each update."""
  now, state, seen = params(), transform.init(params()), []
  for gradient in gradients:
    updates, state = transform.update(gradient, state, now)
    now = optax.apply_updates(now, updates)
    seen.append(now)
  return seen


def gradients(n):
  rng = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32)
  return [jax.tree.map(draw, params()) for _ in range(n)]


def made(**settings):
  settings = (
    dict(learning_rate=CONSTANT, weight_decay=CONSTANT, weight_decay_rules=((".*", 1.0),))
    | settings
  )
  return delayed.late_adamw(10, **settings)


def test_without_late_parameters_it_is_adamw():
  given = gradients(5)
  ours = trace(made(b2=0.95), given)
  theirs = trace(optax.adamw(0.1, b2=0.95, weight_decay=0.1), given)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, theirs)


def test_late_parameters_stand_still_and_then_start_as_if_it_were_the_first_step():
  given = gradients(7)
  found = trace(made(start_rules=(("^head/codes", 0.3),)), given)
  for seen in found[:3]:
    np.testing.assert_array_equal(seen["head"]["codes"], params()["head"]["codes"])
  from_the_third = trace(optax.adamw(0.1, weight_decay=0.1), given[3:])
  for ours, theirs in zip(found[3:], from_the_third, strict=True):
    np.testing.assert_allclose(ours["head"]["codes"], theirs["head"]["codes"], rtol=1e-5)
  from_the_first = trace(optax.adamw(0.1, weight_decay=0.1), given)
  for ours, theirs in zip(found, from_the_first, strict=True):
    np.testing.assert_allclose(ours["body"]["kernel"], theirs["body"]["kernel"], rtol=1e-5)


def test_each_gradient_is_clipped_by_itself():
  clip = delayed.clip_per_parameter(1.0)
  given = {"a": jnp.asarray([3.0, 4.0]), "b": jnp.asarray([[0.3], [0.4]])}
  found, _ = clip.update(given, clip.init(given))
  np.testing.assert_allclose(found["a"], [0.6, 0.8], rtol=1e-5)
  np.testing.assert_array_equal(found["b"], given["b"])


def test_every_parameter_needs_a_rule_for_decay():
  with pytest.raises(InputError, match=r"optimizer.weight_decay_rules: no rule covers.*codes"):
    made(weight_decay_rules=(("kernel$", 1.0),)).init(params())
  made(weight_decay=NOTHING).init(params())
