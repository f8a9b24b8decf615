"""Frozen teachers stay what they were, however they are asked."""

import jax
import numpy as np

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib


def test_the_loss_without_teachers_given_has_those_of_the_first_step():
  """A frozen network is not the student, which other parts would not even fit."""
  c = config_lib.get_config("maskalign", "dataset=digits,size=nano")
  c.train.update(dict(steps=2, batch_size=8))
  experiment = experiment_lib.build(c, devices=jax.devices()[:1])
  state, batch = experiment.trainable.init(jax.random.key(0)), next(experiment.spec.batches())
  given = experiment.trainable.loss(state.params, batch, 0, state.teacher)[0]
  np.testing.assert_allclose(experiment.trainable.loss(state.params, batch, 0)[0], given, rtol=1e-6)
