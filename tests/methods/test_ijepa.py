"""I-JEPA: what its config promises beyond what every method promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax import experiment as experiment_lib
from mim_jax.masks import rectangles


@functools.cache
def nano():
  config = config_lib.get_config("ijepa", "dataset=digits,size=nano")
  config.train.update(dict(steps=4, epochs=None, batch_size=4))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batch = experiment.spec.view(next(experiment.spec.batches()))
  return experiment, experiment.trainable.init(jax.random.key(0)), batch


def loss(change):
  """The loss where `change(key, mask)` has been done to the mask."""
  experiment, state, batch = nano()
  settings = dict(experiment.spec.objective.keywords)
  draw = settings.pop("mask")
  settings["mask"] = lambda key, tokens, *_: change(key, draw(key, tokens))
  teachers = experiment.spec.bind_teachers(state.teacher, state.stats)
  return experiment.spec.parts.apply(
    {"params": state.params},
    method=lambda parts: experiment.spec.objective.func(
      parts, batch, experiment.spec.step(1), teachers, **settings
    ),
  ).loss


def test_what_fills_up_the_lists_counts_for_nothing():
  seen = {}

  def as_drawn(key, mask):
    seen.update(real=mask.valid.mean(), asked=mask.weight.mean())
    return mask

  def filled_otherwise(key, mask):
    n = mask.positions.shape[1]
    one, two = (
      jax.random.randint(k, s.shape, 0, n)
      for k, s in zip(jax.random.split(key), (mask.visible, mask.masked), strict=True)
    )
    visible = jnp.where(mask.valid, mask.visible, one)
    masked = jnp.where(mask.weight > 0, mask.masked, two)
    return core.Mask(visible, masked, mask.weight, mask.positions, mask.valid, grid=mask.grid)

  assert loss(as_drawn) == pytest.approx(float(loss(filled_otherwise)), rel=1e-5)
  assert seen["real"] < 1
  assert seen["asked"] < 1


def test_targets_are_asked_for_apart():
  """What is asked in one rectangle tells nothing about another."""
  experiment, state, batch = nano()
  parts = experiment.spec.parts.bind({"params": state.params})
  tokens = parts.tokenizer(batch["image"])
  mask = rectangles.multi_block(jax.random.key(0), tokens)
  latents = parts.encoder(tokens, mask)
  whole = parts.predictor(latents, mask)
  for g in range(4):
    alone = core.Mask(
      mask.visible, mask.masked[:, g : g + 1], mask.weight[:, g : g + 1], mask.positions, mask.valid
    )
    np.testing.assert_allclose(parts.predictor(latents, alone)[:, 0], whole[:, g], atol=1e-5)


def test_the_teacher_sees_the_whole_image_and_follows():
  experiment, state, _ = nano()
  batch = next(experiment.spec.batches())
  after, _ = jax.jit(experiment.trainable.update)(state, batch)
  name = lambda s: s["tokenizer"]["embed"]["kernel"]
  slow, old, new = name(after.teacher["ema"]), name(state.params), name(after.params)
  np.testing.assert_allclose(slow, 0.99 * old + 0.01 * new, rtol=1e-5, atol=1e-7)


def test_schedules_of_the_published_recipe():
  c = config_lib.get_config("ijepa", "size=H")
  c.train.batch_size = 4096  # rates follow the batch, but for the last
  rate, decay, momentum = (
    config_lib.build(node)
    for node in (c.optimizer.learning_rate, c.optimizer.weight_decay, c.teachers.ema.momentum)
  )
  warm = 40 / 300
  found = [float(rate(p)) for p in (0.0, warm / 2, warm, (1 + warm) / 2, 1.0)]
  np.testing.assert_allclose(found, [4e-4, 1.2e-3, 2e-3, 1.0005e-3, 1e-6], rtol=1e-4)
  np.testing.assert_allclose([float(decay(p)) for p in (0, 0.5, 1)], [0.04, 0.22, 0.4], rtol=1e-5)
  np.testing.assert_allclose([float(momentum(p)) for p in (0, 0.5, 1)], [0.996, 0.998, 1.0])


def test_the_published_networks():
  """Parameters of H/14 and B/16, fixed tables not counted, as in the reference."""
  for size, encoder, predictor in (("H", 630_434_560, 22_279_424), ("B", 85_646_592, 11_238_912)):
    c = config_lib.get_config("ijepa", f"dataset=digits,image=224,size={size}")
    c.train.batch_size = 8
    params = experiment_lib.build(c, devices=jax.devices()[:1]).trainable.abstract_state().params
    counts = {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in params.items()}
    missing = 2 * c.patch**2 * c.parts.tokenizer.width  # the digits are grey
    assert counts["encoder"] + counts["tokenizer"] + missing == encoder
    assert counts["predictor"] == predictor
