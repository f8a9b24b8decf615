"""Codes of a frozen network as targets."""

import types

import jax.numpy as jnp
import numpy as np

from mim_jax import core, targets


def test_codes_are_those_of_the_teacher_that_sees_its_own_view():
  network = types.SimpleNamespace(
    tokenizer=lambda image: core.Tokens(image.reshape(1, 4, 1), jnp.zeros((1, 4, 2)), grid=(2, 2)),
    encoder=lambda tokens: core.Latents(tokens.values, jnp.zeros((1, 0, 1))),
    quantizer=lambda values: types.SimpleNamespace(ids=values[..., 0].astype(jnp.int32)),
  )
  image = jnp.arange(4.0).reshape(1, 2, 2, 1)
  found = targets.codes(
    {"image": image}, types.SimpleNamespace(codes=network), view=lambda image: 10 * image
  )
  assert found.dtype == jnp.int32
  np.testing.assert_array_equal(found, [[[0], [10], [20], [30]]])
