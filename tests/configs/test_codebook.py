"""A codebook learns to be used."""

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.layers import quantizer


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
