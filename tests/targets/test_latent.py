"""A teacher's latents as targets."""

import types

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core
from mim_jax.targets import latent


def teachers(scale):
  """A teacher whose latents are its image's rows, in bfloat16."""
  encoder = lambda tokens: core.Latents(tokens.values.astype(jnp.bfloat16) * scale, None)
  tokenizer = lambda image: core.Tokens(image, None)
  return types.SimpleNamespace(slow=types.SimpleNamespace(tokenizer=tokenizer, encoder=encoder))


def test_each_token_has_mean_zero_and_deviation_one():
  batch = {"image": jnp.asarray([[[1.0, 3.0, 5.0, 7.0], [4.0, 4.0, 4.0, 4.0]]])}
  found = latent.latents(batch, teachers(jnp.bfloat16(2)), teacher="slow")
  assert found.dtype == jnp.float32
  row = np.asarray([-3.0, -1.0, 1.0, 3.0]) / np.sqrt(5 + 1e-5 / 4)
  np.testing.assert_allclose(found[0], [row, np.zeros(4)], rtol=1e-6)
  plain = latent.latents(batch, teachers(jnp.bfloat16(2)), teacher="slow", normalize=False)
  np.testing.assert_array_equal(plain, 2 * batch["image"])


def test_no_gradient_reaches_the_teacher():
  batch = {"image": jnp.ones((1, 2, 4)) * jnp.arange(4.0)[None, None]}

  def total(scale, normalize):
    return jnp.sum(latent.latents(batch, teachers(scale), teacher="slow", normalize=normalize) ** 3)

  for normalize in (True, False):
    assert jax.grad(total)(jnp.bfloat16(2), normalize) == 0
