"""The head of self-distillation, centres, and balanced targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.heads import projection
from mim_jax.methods import ibot


def head(gains=False, **settings):
  return projection.ProjectionHead(count=7, hidden=12, bottleneck=5, gains=gains, **settings)


def scores(seed=0, shape=(3, 4, 6)):
  return jax.random.normal(jax.random.key(seed), shape)


def test_scores_are_cosines():
  x = scores(shape=(3, 2, 8))
  model = head()
  params = model.init(jax.random.key(1), x)
  found = model.apply(params, x)
  assert found.shape == (3, 2, 7)
  assert jnp.abs(found).max() <= 1 + 1e-5
  p = params["params"]
  assert sorted(p) == ["codes", "first", "second", "third"]
  y = jax.nn.gelu(x @ p["first"]["kernel"], approximate=False)
  y = jax.nn.gelu(y @ p["second"]["kernel"], approximate=False) @ p["third"]["kernel"]
  y = y / jnp.linalg.norm(y, axis=-1, keepdims=True)
  columns = p["codes"] / jnp.linalg.norm(p["codes"], axis=0, keepdims=True)
  np.testing.assert_allclose(found, y @ columns, atol=1e-5)


def test_gains_stretch_the_columns_and_length_does_not_matter():
  x = scores(shape=(3, 8))
  model = head(gains=True)
  params = model.init(jax.random.key(1), x)["params"]
  np.testing.assert_array_equal(params["gain"], 1)
  plain = model.apply({"params": params}, x)
  factors = jnp.arange(1.0, 8)[None]
  longer = dict(params, gain=factors, codes=params["codes"] * 3)
  np.testing.assert_allclose(model.apply({"params": longer}, x), plain * factors, rtol=1e-4)


def test_the_mean_of_scores_by_one_vector():
  x = scores(shape=(3, 9, 8))
  model = head(gains=True)
  params = model.init(jax.random.key(1), x)
  found = model.apply(params, x, method="mean")
  np.testing.assert_allclose(found, model.apply(params, x).mean((0, 1)), atol=1e-6)


def test_a_centre_is_used_before_it_follows():
  model, given = ibot.CenteredTargets(momentum=0.9), scores()
  mean = given.mean((0, 1))
  start = model.init(jax.random.key(0), given, 0.5, mean)
  np.testing.assert_array_equal(start["centres"]["centre"], 0)
  found, after = model.apply(start, given, 0.5, mean, mutable=["centres"])
  np.testing.assert_allclose(found, jax.nn.softmax(given / 0.5), rtol=1e-5)
  np.testing.assert_allclose(after["centres"]["centre"], 0.1 * mean, rtol=1e-5)
  found, after = model.apply(after, given, 0.5, mean, mutable=["centres"])
  expected = jax.nn.softmax((given - 0.1 * mean[None, None]) / 0.5)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(after["centres"]["centre"], 0.19 * mean, rtol=1e-5)
  model.apply(after, given, 0.5, mean)  # where nothing may change, nothing does


def test_balanced_targets_use_every_code_alike():
  found = ibot.SinkhornTargets(iterations=30).apply({}, scores(shape=(50, 2, 6)), 0.5)
  np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
  np.testing.assert_allclose(found.sum((0, 1)), 100 / 6, rtol=1e-3)


def test_what_fills_up_does_not_balance_and_nothing_at_all_is_no_fault():
  given, weight = scores(shape=(5, 4, 6)), jnp.zeros((5, 4)).at[:, :3].set(1.0)
  model = ibot.SinkhornTargets()
  found = model.apply({}, given, 0.5, None, weight)[:, :3]
  np.testing.assert_allclose(found, model.apply({}, given[:, :3], 0.5), rtol=1e-4)
  assert jnp.isfinite(model.apply({}, given, 0.5, None, jnp.zeros((5, 4)))).all()


@pytest.mark.parametrize("model", [ibot.CenteredTargets(), ibot.SinkhornTargets()])
def test_no_gradient_passes_targets(model):
  def total(given):
    variables = model.init(jax.random.key(0), given, 0.5, jnp.zeros(6))
    return jnp.sum(model.apply(variables, given, 0.5, jnp.zeros(6)) ** 2)

  np.testing.assert_array_equal(jax.grad(total)(scores()), 0)
