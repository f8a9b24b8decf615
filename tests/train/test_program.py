"""The compiled step does no more than it must, as its program says."""

import re

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.data.image import augment
from mim_jax.devices import program
from mim_jax.evaluate import features

pytestmark = pytest.mark.slow


def lowered(method, dtype="bfloat16"):
  """The text of a step whose images need no resampling, which is float32 and no matter here."""
  config = config_lib.get_config(method, "dataset=digits,size=nano")
  config.train.update(dict(steps=10, epochs=None, batch_size=8, dtype=dtype))
  norm = {key: config.data.augment[key] for key in ("mean", "std")}
  with config.unlocked():
    config.data.augment = config_lib.part(augment.normalize_only, **norm)
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batch = next(experiment.spec.batches())
  return program.lower_update(
    experiment.trainable, experiment.trainable.abstract_state(), batch
  ).as_text()


def products(text):
  """(shape and type of the one factor, of the other) of every matrix product."""
  return re.findall(r"stablehlo\.dot_general .*: \(tensor<([^>]*)>, tensor<([^>]*)>\)", text)


@pytest.mark.parametrize("method", ["mae", "simmim", "ijepa"])
def test_under_bfloat16_no_product_is_of_float32_factors(method):
  found = products(lowered(method))
  assert len(found) > 20
  wide = [factors for factors in found if any(f.endswith("f32") for f in factors)]
  assert not wide


@pytest.mark.parametrize("method", ["mae", "simmim", "ijepa"])
def test_patches_are_sorted_at_most_once(method):
  """The way back from a permutation is a scatter, not another sort."""
  text = lowered(method)
  assert len(re.findall(r"call @\w*sort|stablehlo\.sort", text)) <= 2  # a function and its call


def test_tokens_are_taken_by_gathers_and_not_by_products():
  """MAE's products: patches, projections, mlps, attention; nothing as wide as a one-hot choice."""
  blocks = 2 + 1  # of encoder and decoder at size nano
  linear = 3 + 4 * blocks  # patches, into the decoder, head; qkv, out, up, down
  attention = 2 * blocks
  # Of each map the gradients of both factors, of the patches only that of the kernel.
  wanted = 3 * (linear + attention) - 1
  assert len(products(lowered("mae"))) == wanted


def test_teacher_optimizer_and_metrics_are_in_the_one_program():
  config = config_lib.get_config("ijepa", "dataset=digits,size=nano")
  config.train.update(dict(steps=10, epochs=None, batch_size=8))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  state = experiment.trainable.init(jax.random.key(0))
  compiled = program.compile_update(
    experiment.trainable, experiment.trainable.abstract_state(), next(experiment.spec.batches())
  )
  before = jax.device_get(state)
  after, metrics = compiled(state, jax.device_put(next(experiment.spec.batches())))
  assert {"loss", "gradient_norm", "learning_rate"} <= set(metrics)
  for part in ("params", "opt_state", "teacher"):
    changed = jax.tree.map(
      lambda a, b: not np.array_equal(a, b), getattr(before, part), getattr(after, part)
    )
    assert any(jax.tree.leaves(changed)), part


def test_a_device_computes_the_same_however_many_there_are():
  """With as many images on each; but for the optimizer's work, which fsdp divides."""
  found = []
  for devices in (1, 8):
    config = config_lib.get_config("mae", "dataset=digits,size=nano")
    config.train.update(dict(steps=10, epochs=None, batch_size=64 * devices))
    config.train.mesh.update(data=1, fsdp=devices)
    experiment = experiment_lib.build(config, devices=jax.devices()[:devices])
    batch = next(experiment.spec.batches())
    compiled = program.compile_update(
      experiment.trainable, experiment.trainable.abstract_state(), batch
    )
    found.append(compiled.cost_analysis()["flops"])
  assert found[0] > 1e7
  assert found[1] == pytest.approx(found[0], rel=0.02)


def test_flops_of_a_step_are_those_of_all_devices():
  found = []
  for devices in (1, 8):
    config = config_lib.get_config("mae", "dataset=digits,size=nano")
    config.train.update(dict(steps=10, epochs=None, batch_size=64))
    experiment = experiment_lib.build(config, devices=jax.devices()[:devices])
    batch = next(experiment.spec.batches())
    lowered = program.lower_update(
      experiment.trainable, experiment.trainable.abstract_state(), batch
    )
    found.append(program.flops(lowered) / 64)
  blocks = [(5, 24)] * 2 + [(17, 16)]  # tokens and width of encoder and decoder
  block = sum(2 * n * 12 * w**2 + 2 * 2 * n**2 * w for n, w in blocks)
  linear = 16 * 4 * 24 + 5 * 24 * 16 + 17 * 16 * 4  # patches, into the decoder, head
  assert found[0] == found[1] == pytest.approx(3 * (block + 2 * linear), rel=0.15)


def test_evaluations_of_all_states_share_one_compiled_encoder():
  config = config_lib.get_config("mae", "dataset=digits,size=nano")
  config.train.update(dict(steps=10, epochs=None, batch_size=8))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  read, found = experiment.viewer.program.read, []
  for seed in range(3):
    state = experiment.trainable.init(jax.random.key(seed))
    encode = experiment.viewer.encoder(state.params, state.stats)
    found.append(features.features(encode, experiment.spec.data.test, 64)[0])
    assert read._cache_size() == 1
  assert not np.array_equal(found[0], found[1])
