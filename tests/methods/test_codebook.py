"""A codebook: the objective by hand, the recipe, and that codes come into use."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, losses
from mim_jax import experiment as experiment_lib
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
  found = codebook.learn_codes(
    parts(distance),
    {"image": TRUTH},
    step,
    None,
    entry="image",
    target=lambda batch, teachers: batch["image"],
    loss=losses.squared_error,
    commitment=0.25,
  )
  np.testing.assert_allclose(found.loss, 4.0 + 0.25 * 4.5)
  assert {name: float(value) for name, value in found.metrics.items()} == dict(
    decoded=4.0, commitment=4.5, perplexity=3.0, usage=0.5
  )


def test_the_recipe():
  c = config_lib.get_config("codebook", "size=B")
  rate = config_lib.build(c.optimizer.learning_rate)
  assert float(rate(0.1)) == pytest.approx(2e-4)  # 5e-5 for 128 images, batches of 512
  assert float(rate(1.0)) == pytest.approx(1e-5)
  book = c.parts.quantizer
  assert (book.codes, book.width, book.decay, c.parts.decoder.depth) == (8192, 32, 0.99, 3)
  assert (c.objective.commitment, c.optimizer.b2, c.train.batch_size) == (1.0, 0.99, 512)


@pytest.mark.parametrize("unit", [True, False])
def test_codes_come_into_use_on_digits(unit):
  """At first few of 32 are; then those that none chooses are revived, and pixels are met."""
  c = config_lib.get_config("codebook", "dataset=digits,size=nano")
  c.train.update(dict(steps=200, batch_size=64))
  c.optimizer.learning_rate.peak = 2e-3
  c.parts.quantizer.unit = unit
  experiment = experiment_lib.build(c, devices=jax.devices()[:1])
  state, batches = experiment.trainable.init(jax.random.key(0)), experiment.spec.batches()
  step, seen = jax.jit(experiment.trainable.update), []
  for _ in range(200):
    state, metrics = step(state, next(batches))
    seen.append({name: float(value) for name, value in metrics.items()})
  assert seen[-1]["usage"] > 0.6
  assert seen[-1]["perplexity"] > 1.5 * seen[0]["perplexity"]
  assert seen[-1]["decoded"] < 0.7 * seen[0]["decoded"]
  codes = state.stats["quantizer" if "quantizer" in state.stats else quantizer.STATE]
  lengths = np.linalg.norm(jax.tree.leaves(codes)[0], axis=-1)
  assert np.isfinite(lengths).all()
  panels = experiment.viewer.pictures(state, next(batches)).panels
  assert panels["reconstruction"].shape == panels["original"].shape
