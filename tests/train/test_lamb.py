"""LAMB against its steps by hand (numpy), with the traps of SparK's version."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mim_jax.optim import optimizers

RULES = ((r"(bias|scale|token)$", 0.0), (r"kernel$", 1.0))


def params():
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  return {"a": {"kernel": draw(3, 4), "bias": draw(4)}, "mask_token": draw(2)}


def lamb(total=10, **settings):
  defaults = dict(
    learning_rate=lambda p: 0.1 * (1.0 - p),
    weight_decay=lambda p: jnp.float32(0.04) + 0.16 * p,
    b2=0.95,
    weight_decay_rules=RULES,
  )
  return optimizers.lamb(total, **(defaults | settings))


def by_hand(p, gradients, decays, clip=None, b1=0.9, b2=0.95):
  """Parameters (flat lists of arrays) after each step, in float64."""
  p = [np.asarray(x, np.float64) for x in p]
  m = [np.zeros_like(x) for x in p]
  v = [np.zeros_like(x) for x in p]
  for t, grads in enumerate(gradients):
    grads = [np.asarray(g, np.float64) for g in grads]
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    grads = [g * min(1.0, clip / norm) if clip else g for g in grads]
    rate, decay = 0.1 * (1 - t / 10), 0.04 + 0.16 * t / 10
    for i, g in enumerate(grads):
      m[i] = b1 * m[i] + (1 - b1) * g
      v[i] = b2 * v[i] + (1 - b2) * g**2
      u = m[i] / (1 - b1 ** (t + 1)) / (np.sqrt(v[i] / (1 - b2 ** (t + 1))) + 1e-6)
      if decays[i]:
        u = u + decay * p[i]
        u = u * np.linalg.norm(p[i]) / np.linalg.norm(u)
      p[i] = p[i] - rate * u
  return p


@pytest.mark.parametrize("clip", [None, 5.0])
def test_four_steps(clip):
  tree = params()
  transform = lamb(clip=clip)
  state = transform.init(tree)
  leaves, form = jax.tree.flatten(tree)
  rng = np.random.default_rng(1)
  gradients = [[8.0 * rng.normal(size=x.shape) for x in leaves] for _ in range(4)]
  decays = [False, True, False]  # a/bias, a/kernel, mask_token
  for grads in gradients:
    grads = jax.tree.unflatten(form, [jnp.asarray(g, jnp.float32) for g in grads])
    updates, state = transform.update(grads, state, tree)
    tree = optax.apply_updates(tree, updates)
  expected = by_hand(leaves, gradients, decays, clip)
  for found, wanted in zip(jax.tree.leaves(tree), expected, strict=True):
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-6)


def test_a_step_is_as_long_as_the_parameter_whatever_the_gradient():
  """Without a cap: a parameter of norm 1000 moves by 1000 times the rate."""
  tree = {"kernel": jnp.full((10, 10), 100.0), "bias": jnp.full(4, 100.0)}
  transform = lamb(learning_rate=lambda p: 0.01)
  for size in (1e-3, 1e3):
    grads = jax.tree.map(lambda x: jnp.full(x.shape, size), tree)  # noqa: B023
    updates, _ = transform.update(grads, transform.init(tree), tree)
    assert float(jnp.linalg.norm(updates["kernel"])) == pytest.approx(10.0, rel=1e-5)
    np.testing.assert_allclose(updates["bias"], -0.01, rtol=2e-3)  # Adam's step, epsilon seen


def test_a_parameter_of_zeros_moves():
  tree = {"kernel": jnp.zeros((2, 2))}
  transform = lamb(learning_rate=lambda p: 0.01)
  updates, _ = transform.update({"kernel": jnp.ones((2, 2))}, transform.init(tree), tree)
  np.testing.assert_allclose(updates["kernel"], -0.01, rtol=1e-4)
