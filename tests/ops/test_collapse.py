"""Meters of collapse at their two ends, and RankMe against a singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.ops import collapse


def test_entropy():
  np.testing.assert_allclose(collapse.entropy(jnp.full((2, 3, 8), 1 / 8)), np.log(8), rtol=1e-6)
  assert collapse.entropy(jnp.eye(4)) == 0
  mixed = jnp.asarray([[1.0, 0.0], [0.5, 0.5]])
  np.testing.assert_allclose(collapse.entropy(mixed), np.log(2) / 2, rtol=1e-6)


def test_deviation():
  noise = jax.random.normal(jax.random.key(0), (5000, 16))
  assert collapse.feature_std(noise) == pytest.approx(1, abs=0.02)
  assert collapse.feature_std(7 * noise) == pytest.approx(1, abs=0.02)  # length does not matter
  assert collapse.feature_std(jnp.ones((9, 16)) * 3) < 1e-6


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (300, 8)])
def test_rank_me_is_that_of_the_singular_values(shape):
  features = jax.random.normal(jax.random.key(1), shape) * jnp.arange(1.0, shape[1] + 1)[None]
  values = np.linalg.svd(np.asarray(features)[:256], compute_uv=False)
  shares = values / values.sum()
  expected = np.exp(-(shares * np.log(shares)).sum())
  np.testing.assert_allclose(jax.jit(collapse.rank_me)(features), expected, rtol=2e-3)


@pytest.mark.parametrize("rank", [1, 3])
def test_rank_me_of_few_directions(rank):
  base = jnp.eye(rank, 32)
  features = base[jnp.arange(60 * rank) % rank] * 5
  np.testing.assert_allclose(collapse.rank_me(features), rank, rtol=1e-3)
