"""Learning codes: the objective by hand."""

import types

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core, losses
from mim_jax.layers import quantizer
from mim_jax.methods import codebook

TRUTH = jnp.arange(24.0).reshape(2, 4, 3)


def parts(distance):
  """Parts whose decoder gives back the codes it is given."""
  coded = quantizer.Coded(TRUTH + 2.0, jnp.zeros((2, 4), jnp.int32), distance, 3.0, 0.5)
  return types.SimpleNamespace(
    tokenizer=lambda image: core.Tokens(image, jnp.zeros((2, 4, 2)), grid=(2, 2)),
    encoder=lambda tokens: core.Latents(tokens.values + 1.0, jnp.zeros((2, 0, 3))),
    quantizer=lambda values: coded,
    decoder=lambda tokens: tokens.values,
  )


def test_the_loss_is_what_decoding_misses_and_how_far_codes_are():
  distance = jnp.asarray([[1.0, 2, 3, 4], [5, 6, 7, 8]])
  step = core.Step(jax.random.key(0), jnp.zeros([], jnp.int32), jnp.zeros([]))
  loss, metrics = codebook.learn_codes(
    parts(distance),
    {"image": TRUTH},
    step,
    None,
    target=lambda batch, teachers: batch["image"],
    loss=losses.squared_error,
    commitment=0.25,
  )
  np.testing.assert_allclose(loss, 4.0 + 0.25 * 4.5)
  assert {name: float(value) for name, value in metrics.items()} == dict(
    decoded=4.0, commitment=4.5, perplexity=3.0, usage=0.5
  )
