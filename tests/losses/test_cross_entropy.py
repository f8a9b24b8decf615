"""Cross-entropy with codes and with the classes of pixels."""

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
