"""Laws of balanced assignments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.ops import sinkhorn

few = settings(max_examples=12, deadline=None)
# Few shapes, because each is compiled anew.
shapes = st.sampled_from([(5, 1, 2), (2, 3, 6), (6, 4, 3)])
seeds = st.integers(0, 2**31 - 1)


def scores_of(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def by_hand(scores, temperature, iterations, axes):
  """The published order of steps on the matrix itself, in float64."""
  s = np.exp(np.asarray(scores, np.float64) / temperature)
  for _ in range(iterations):
    s /= s.sum(axes, keepdims=True)
    s /= s.sum(-1, keepdims=True)
  return s


@few
@given(shapes, st.booleans(), st.integers(1, 4), seeds)
def test_it_is_the_alternating_normalisation(shape, by_position, iterations, seed):
  scores = scores_of(seed, *shape)
  found = sinkhorn.sinkhorn_knopp(
    scores, temperature=0.3, iterations=iterations, by_position=by_position
  )
  wanted = by_hand(scores, 0.3, iterations, 0 if by_position else (0, 1))
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@few
@given(shapes, st.booleans(), seeds)
def test_both_marginals_hold_in_the_limit_and_tokens_always(shape, by_position, seed):
  (b, n, k), scores = shape, scores_of(seed, *shape)
  once, limit = (
    np.asarray(
      sinkhorn.sinkhorn_knopp(scores, temperature=1.0, iterations=i, by_position=by_position),
      np.float64,
    )
    for i in (1, 60)
  )
  np.testing.assert_allclose(once.sum(-1), 1.0, atol=1e-5)
  np.testing.assert_allclose(limit.sum(-1), 1.0, atol=1e-5)
  used = limit.sum(0) if by_position else limit.sum((0, 1))
  np.testing.assert_allclose(used, (b if by_position else b * n) / k, rtol=1e-2)


@few
@given(shapes, seeds)
def test_a_prototype_that_all_like_gains_nothing(shape, seed):
  scores, bonus = scores_of(seed, *shape), scores_of(seed + 1, 1, 1, shape[-1])
  a, c = (sinkhorn.sinkhorn_knopp(s, temperature=0.5) for s in (scores, scores + bonus))
  np.testing.assert_allclose(a, c, atol=1e-4)


def test_by_position_each_position_is_a_balance_of_its_own():
  scores = scores_of(0, 6, 4, 5)
  whole = sinkhorn.sinkhorn_knopp(scores, temperature=0.2, by_position=True)
  for i in range(4):
    alone = sinkhorn.sinkhorn_knopp(scores[:, i : i + 1], temperature=0.2)
    np.testing.assert_allclose(whole[:, i : i + 1], alone, rtol=1e-5, atol=1e-7)


def test_what_weighs_nothing_changes_nothing():
  scores = scores_of(1, 4, 3, 5)
  weight = jnp.ones((4, 3)).at[2].set(0.0)
  found = sinkhorn.sinkhorn_knopp(scores, weight, temperature=0.2)
  kept = sinkhorn.sinkhorn_knopp(jnp.delete(scores, 2, axis=0), temperature=0.2)
  np.testing.assert_allclose(jnp.delete(found, 2, axis=0), kept, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)


def test_outliers_and_low_temperatures_stay_finite():
  scores = scores_of(2, 8, 1, 6).at[0].add(-500.0) * 10
  found = sinkhorn.sinkhorn_knopp(scores, temperature=0.06)
  assert np.isfinite(found).all()
  np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)


def test_no_gradient_and_float32():
  scores = scores_of(3, 4, 2, 3)
  gradient = jax.grad(lambda s: jnp.sum(sinkhorn.sinkhorn_knopp(s, temperature=0.5)[..., 0]))(
    scores
  )
  assert not np.any(gradient)
  assert sinkhorn.sinkhorn_knopp(scores.astype(jnp.bfloat16), temperature=0.5).dtype == jnp.float32


@pytest.mark.parametrize("by_position", [False, True])
def test_one_device_and_eight_agree(by_position):
  scores = scores_of(4, 16, 3, 10)
  results = []
  for count in (1, 8):
    devices = mesh.make(devices=jax.devices()[:count])
    place = jax.sharding.NamedSharding(devices, PartitionSpec(("data", "fsdp")))
    run = jax.jit(
      lambda s: sinkhorn.sinkhorn_knopp(s, temperature=0.06, by_position=by_position),
      in_shardings=place,
      out_shardings=place,
    )
    results.append(np.asarray(run(jax.device_put(scores, place))))
  np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-6)
  local = np.concatenate(
    [
      sinkhorn.sinkhorn_knopp(s, temperature=0.06, by_position=by_position)
      for s in jnp.split(scores, 8)
    ]
  )
  assert np.abs(results[1] - local).max() > 0.1  # balancing each device alone is something else


def test_what_cannot_be_balanced_is_refused():
  for settings_ in (dict(temperature=0.0), dict(temperature=0.1, iterations=0)):
    with pytest.raises(InputError, match="temperature"):
      sinkhorn.sinkhorn_knopp(scores_of(0, 2, 1, 2), **settings_)
