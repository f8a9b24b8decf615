"""The losses of a network that guesses losses, against sums over pairs one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core, losses
from mim_jax.methods import hpm


def by_pairs(scores, errors, real):
  """(sum, count) over ordered pairs of real tokens whose errors differ."""
  total, count = 0.0, 0
  for i, j in itertools.permutations(range(len(scores)), 2):
    if real[i] and real[j] and errors[i] != errors[j]:
      margin = scores[i] - scores[j] if errors[i] > errors[j] else scores[j] - scores[i]
      total, count = total + np.log1p(np.exp(-margin)), count + 1
  return total, count


def draw(seed=0, shape=(3, 2, 7)):
  rng = np.random.default_rng(seed)
  scores = rng.normal(size=shape).astype(np.float32)
  errors = rng.integers(0, 4, shape).astype(np.float32)  # with ties
  weight = (rng.uniform(size=shape) < 0.8).astype(np.float32)
  return scores, errors, weight


def test_the_weighted_mean_is_that_over_all_pairs_of_the_batch():
  scores, errors, weight = draw()
  found = core.weighted_mean(*hpm.pairwise_order(*map(jnp.asarray, (scores, errors, weight))))
  sums = [by_pairs(scores[i], errors[i], weight[i]) for i in np.ndindex(3, 2)]
  total, count = map(sum, zip(*sums, strict=True))
  np.testing.assert_allclose(found, total / count, rtol=1e-5)


def test_it_starts_at_ln_2_and_falls_to_0_with_the_right_order():
  errors = jnp.asarray([[[0.1, 0.5, 0.9]]])
  weight = jnp.ones_like(errors)

  def cost(scores):
    return core.weighted_mean(*hpm.pairwise_order(scores, errors, weight))

  np.testing.assert_allclose(cost(jnp.zeros_like(errors)), np.log(2), rtol=1e-6)
  assert cost(100 * errors) < 1e-6
  assert cost(-100 * errors) > 10
  np.testing.assert_allclose(cost(errors + 5), cost(errors), rtol=1e-6)  # only the order counts
  push = jax.grad(cost)(jnp.zeros_like(errors))[0, 0]
  assert push[0] > 0 > push[2]  # the easiest is to score lower, the hardest higher
  assert np.isfinite(cost(1e4 * errors))


def test_without_any_pair_it_is_0():
  same = jnp.ones((2, 1, 4))
  assert core.weighted_mean(*hpm.pairwise_order(same, same, same)) == 0


def test_errors_get_no_gradient():
  scores, errors, weight = map(jnp.asarray, draw())
  for loss in (hpm.pairwise_order, hpm.standardized_error):
    gradient = jax.grad(lambda e, f=loss: core.weighted_mean(*f(scores, e, weight)))(errors)
    np.testing.assert_array_equal(gradient, 0)


def test_standardized_errors_are_those_of_the_group():
  scores, errors, weight = draw()
  weight[:, :, :3] = 1
  found = core.weighted_mean(*hpm.standardized_error(*map(jnp.asarray, (scores, errors, weight))))
  parts = []
  for i in np.ndindex(3, 2):
    kept = weight[i] > 0
    e = errors[i][kept]
    standard = (e - e.mean()) / np.sqrt(e.var(ddof=1) + 1e-6)
    parts.extend((scores[i][kept] - standard) ** 2)
  np.testing.assert_allclose(found, np.mean(parts), rtol=1e-4)


def test_smooth_l1_is_square_near_and_straight_far():
  predictions = jnp.asarray([0.5, -0.5, 3.0]).reshape(1, 1, 3, 1)
  zero = jnp.zeros_like(predictions)
  np.testing.assert_allclose(losses.smooth_l1(predictions, zero)[0, 0], [0.125, 0.125, 2.5])
  twice = losses.smooth_l1(predictions, zero, scale=2.0)[0, 0]  # MaskAlign's: u^2 and 2 |u| - 1
  np.testing.assert_allclose(twice, [0.25, 0.25, 5.0])
  half = losses.smooth_l1(predictions, zero, beta=2.0)[0, 0]
  np.testing.assert_allclose(half, [0.0625, 0.0625, 2.0])
