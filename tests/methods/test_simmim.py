"""SimMIM as published: counts, recipe, and its Swin form kept to the promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax import experiment as experiment_lib
from mim_jax.errors import InputError
from mim_jax.train import state
from mim_jax.weights import parts as parts_lib


def parameters(c):
  """Numbers in the parameters of each part."""
  objective, side = config_lib.build(c.objective), c.data.augment.size
  step = core.Step(jax.random.key(0), jnp.zeros([], jnp.int32), jnp.zeros([]))
  batch = {"image": jnp.zeros((1, *side, 3))}
  run = lambda parts: objective(parts, batch, step, None)
  shapes = jax.eval_shape(lambda: parts_lib.parts_of(c).init(jax.random.key(0), method=run))
  return {name: state.count(tree) for name, tree in shapes["params"].items()}


@pytest.mark.parametrize(
  ("arg", "published"),
  [
    ("size=B", 86_256_720),
    ("size=B,encoder=swin", 89_874_104),
    ("size=L,encoder=swin", 199_881_204),
  ],
)
def test_parameters_are_as_many_as_published(arg, published):
  assert sum(parameters(config_lib.get_config("simmim", arg)).values()) == published


@pytest.mark.parametrize(
  ("arg", "unit"), [("size=B", 2), ("size=B,encoder=swin", 8), ("size=L,encoder=swin", 8)]
)
def test_units(arg, unit):
  c = config_lib.get_config("simmim", arg)
  assert c.objective.mask.unit == unit
  assert c.objective.mask.ratio == 0.6


def test_the_recipes():
  long, short = (config_lib.get_config("simmim", f"encoder={e}") for e in ("vit", "swin"))
  assert long.train.batch_size == short.train.batch_size == 2048
  assert (long.train.epochs, short.train.epochs) == (800, 100)
  assert long.data.augment.scale == (0.67, 1.0)
  rate = config_lib.build(long.optimizer.learning_rate)
  assert float(rate(0.0)) == pytest.approx(2e-6)
  assert float(rate(0.5)) == pytest.approx(4e-4)
  assert float(rate(0.9)) == pytest.approx(4e-5)
  rate = config_lib.build(short.optimizer.learning_rate)
  assert float(rate(0.0999)) == pytest.approx(8e-4, rel=2e-3)
  assert float(rate(0.1)) == pytest.approx(4e-5 + (8e-4 - 4e-5) * 0.9755, rel=1e-3)
  assert float(rate(1.0)) == pytest.approx(4e-5)
  long.optimizer.learning_rate.peak = 1e-3  # a rate stays one that can be given
  long.patch = 8
  assert long.objective.mask.unit == 4
  assert long.parts.predictor.target_width == 192


def test_an_encoder_or_size_that_is_not_there_is_refused():
  with pytest.raises(InputError, match="'swim' is unknown; did you mean 'swin'"):
    config_lib.get_config("simmim", "encoder=swim")
  with pytest.raises(InputError, match="Allowed: B, L, S"):
    config_lib.get_config("simmim", "encoder=swin,size=H")


@pytest.fixture(scope="module")
def swin():
  c = config_lib.get_config("simmim", "dataset=digits,size=nano,encoder=swin")
  c.train.update(dict(steps=40, batch_size=16))
  experiment = experiment_lib.build(c, devices=jax.devices()[:1])
  return experiment, experiment.trainable.init(jax.random.key(0)), next(experiment.spec.batches())


def test_the_swin_form_learns_one_batch(swin):
  experiment, state, batch = swin
  step, seen = jax.jit(experiment.trainable.update), []
  for _ in range(40):
    state, metrics = step(state, batch)
    seen.append(float(metrics["loss"]))
  assert np.mean(seen[-5:]) < 0.95 * np.mean(seen[:5])
  pictures = experiment.viewer.pictures(state, batch)
  assert pictures.panels["reconstruction"].shape == (16, 8, 8, 1)


def test_the_gradient_reaches_every_parameter_of_the_swin_form(swin):
  experiment, state, batch = swin
  gradient = jax.jit(jax.grad(lambda p: experiment.trainable.loss(p, batch, 1)[0]))(state.params)
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient))
