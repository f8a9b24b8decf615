"""Cross-entropy with codes, with distributions and with the classes of pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import losses


def test_one_code_a_token():
  """Chance is the logarithm of the number of codes; float32 also for bfloat16 logits."""
  logits = jnp.zeros((2, 1, 3, 8192), jnp.bfloat16)
  found = losses.cross_entropy(logits, jnp.ones((2, 1, 3, 1), jnp.int32))
  assert found.shape == (2, 1, 3)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, 9.011, atol=1e-3)


def test_several_choices_a_token_are_averaged():
  logits = jnp.asarray([0.0, 1.0, 3.0, 0.0, 0.0, 2.0]).reshape(1, 1, 1, 6)  # 2 choices of 3
  found = losses.cross_entropy(logits, jnp.asarray([2, 0]).reshape(1, 1, 1, 2))
  log_softmax = lambda x: x - np.log(np.exp(x).sum())
  expected = (
    -(log_softmax(np.asarray([0.0, 1, 3]))[2] + log_softmax(np.asarray([0.0, 0, 2]))[0]) / 2
  )
  assert float(found[0, 0, 0]) == pytest.approx(expected, rel=1e-6)


def test_distributions_by_hand():
  """-sum A log softmax(s / 0.12), and its least value is the entropy of the targets."""
  rng = np.random.default_rng(0)
  scores, targets = rng.normal(size=(2, 1, 3, 5)), rng.dirichlet(np.ones(5), size=(2, 1, 3))
  z = np.exp(scores / 0.12)
  wanted = -(targets * np.log(z / z.sum(-1, keepdims=True))).sum(-1)
  loss = functools.partial(losses.soft_cross_entropy, temperature=0.12)
  scores, targets = (jnp.asarray(x, jnp.float32) for x in (scores, targets))
  np.testing.assert_allclose(loss(scores, targets), wanted, rtol=1e-5)
  best = loss(0.12 * jnp.log(targets), targets)
  np.testing.assert_allclose(best, jnp.sum(jax.scipy.special.entr(targets), -1), rtol=1e-5)


def test_pixel_cross_entropy_by_hand():
  rng = np.random.default_rng(0)
  scores, ids = rng.normal(size=(2, 1, 3, 4, 5)), rng.integers(0, 5, (2, 1, 3, 4))
  share = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  wanted = -np.log(np.take_along_axis(share, ids[..., None], -1))[..., 0].mean(-1)
  found = losses.pixel_cross_entropy(
    jnp.asarray(scores.reshape(2, 1, 3, 20), jnp.float32), jnp.asarray(ids, jnp.int32)
  )
  np.testing.assert_allclose(found, wanted, rtol=1e-5)
