"""Vector quantisation by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.ops import vector_quantization


def draw(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


def test_unit_vectors():
  found = vector_quantization.unit(jnp.asarray([[3.0, 4.0], [0.0, 0.0]]))
  np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], rtol=1e-6)
  gradient = jax.grad(lambda x: jnp.sum(vector_quantization.unit(x)))(jnp.zeros((1, 3)))
  assert np.isfinite(gradient).all()


def test_the_nearest_is_the_nearest():
  z, codes = draw(50, 6), draw(9, 6, seed=1)
  distance = np.linalg.norm(np.asarray(z)[:, None] - np.asarray(codes)[None], axis=-1)
  np.testing.assert_array_equal(vector_quantization.nearest(z, codes), distance.argmin(1))
  np.testing.assert_array_equal(vector_quantization.nearest(codes, codes), np.arange(9))
  twice = jnp.concatenate([codes, codes])
  np.testing.assert_array_equal(
    vector_quantization.nearest(codes, twice), np.arange(9)
  )  # first of equals


def test_totals():
  z = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
  count, sums = vector_quantization.totals(z, jnp.asarray([2, 0, 2]), 4)
  np.testing.assert_array_equal(count, [1, 0, 2, 0])
  np.testing.assert_array_equal(sums, [[3, 4], [0, 0], [6, 8], [0, 0]])


def test_unit_codes_turn_by_a_step_that_forgets_how_many_chose_them():
  """BEiT v2: E <- unit(.9 E + .1 unit(mean)); codes without vectors stay to the bit."""
  codes = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
  count, sums = jnp.asarray([1.0, 0.0, 5.0]), jnp.asarray([[0.0, 1.0], [0, 0], [5.0, 0.0]])
  found = vector_quantization.turned(codes, count, sums, 0.9)
  unit = lambda v: np.asarray(v) / np.linalg.norm(v)
  np.testing.assert_allclose(found[0], unit([0.9, 0.1]), rtol=1e-6)
  np.testing.assert_array_equal(found[1], codes[1])
  np.testing.assert_allclose(found[2], unit([0.9 * 0.6 + 0.1, 0.9 * 0.8]), rtol=1e-6)


def test_running_means():
  """VQ-VAE, appendix A.1, whatever unit the counts are in."""
  usage, sums = jnp.asarray([2.0, 1.0]), jnp.asarray([[2.0, 4.0], [0.5, 0.0]])
  smoothed = (np.asarray([2.0, 1.0]) + 1e-5) / (3 + 2e-5) * 3
  expected = np.asarray(sums) / smoothed[:, None]
  np.testing.assert_allclose(vector_quantization.averaged(usage, sums), expected, rtol=1e-6)
  np.testing.assert_allclose(vector_quantization.averaged(usage / 7, sums / 7), expected, rtol=1e-4)


@pytest.mark.parametrize(("most", "revived"), [(1, 1), (2, 2), (9, 3)])
def test_at_most_so_many_codes_are_revived_by_different_vectors(most, revived):
  dead = jnp.asarray([True, False, True, True, False])
  chosen, drawn = vector_quantization.replacements(jax.random.key(0), jnp.ones(20), dead, most)
  assert chosen.sum() == revived
  assert not np.asarray(chosen & ~dead).any()
  assert len(set(np.asarray(drawn)[np.asarray(chosen)].tolist())) == revived


def test_badly_coded_vectors_are_wanted_most():
  distance = jnp.asarray([0.0, 1.0, 3.0])
  run = lambda k: vector_quantization.replacements(k, distance, jnp.asarray([True]), 1)[1][0]
  drawn = np.asarray(jax.vmap(run)(jax.random.split(jax.random.key(0), 2000)))
  np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 2000, [0, 0.25, 0.75], atol=0.03)


def test_fewer_vectors_than_codes():
  chosen, drawn = vector_quantization.replacements(
    jax.random.key(0), jnp.ones(2), jnp.ones(5, bool), 5
  )
  assert chosen.sum() == 2
  assert set(np.asarray(drawn).tolist()) <= {0, 1}


def test_perplexity():
  np.testing.assert_allclose(vector_quantization.perplexity(jnp.ones(8)), 8, rtol=1e-5)
  np.testing.assert_allclose(vector_quantization.perplexity(jnp.asarray([5.0, 0, 0])), 1, rtol=1e-5)
