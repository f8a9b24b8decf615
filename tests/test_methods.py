"""The promises that every method keeps. A new config is held to all of them by being there.

Three tiers: traced promises run for every method, every time; compiled ones for a method whose
program is not yet known to have kept them (tests/programs, written by the run that passed);
FULL=1 runs all. Negative controls are in test_promises.py.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.devices import mesh
from mim_jax.devices import program as program_lib
from mim_jax.train import loop
from tests import promises

METHODS = config_lib.names()
ENGINES = ("mae", "ibot")  # a state of each kind: plain; with teacher, statistics and late starts
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=METHODS)
def method(request):
  """A fixture of the module, so that all tests of one method come before those of the next."""
  return request.param


def fresh(method):
  experiment, program, batch = promises.built(method, 1)
  state = experiment.trainable.init(jax.random.key(0))
  return experiment, program, state, mesh.to_devices(batch, experiment.spec.mesh)


def same_bits(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x, y), jax.device_get(a), jax.device_get(b)
  )


# Traced.


def test_the_update_returns_what_it_takes(method):
  """Shapes, types and weak types, so that what it returns fits again and nothing is compiled anew."""
  trainable, batch = promises.traced(method)
  before = trainable.abstract_state()
  after, metrics = jax.eval_shape(trainable.update, before, batch)
  assert promises.kinds(after) == promises.kinds(before)
  assert all(x.shape == () for x in jax.tree.leaves(metrics))


def test_a_gradient_path_reaches_every_student_parameter_and_no_teacher(method):
  trainable, batch = promises.traced(method)
  missing, reached = promises.without_gradient(trainable, batch)
  # A key's bias shifts all logits of a query alike, which softmax does not see; it lies fused in
  # qkv.
  assert not missing, f"no gradient reaches {missing}"
  assert not reached, f"a gradient reaches the teacher's {reached}"


def test_a_bfloat16_loss_is_float32_and_so_are_parameters(method):
  trainable, batch = promises.traced(method, dtype="bfloat16")
  with jax.numpy_dtype_promotion("standard"):  # Flax's norms mix bfloat16 and float32
    loss, params = promises.loss_and_parameters(trainable, batch)
  assert loss.dtype == jnp.float32
  assert {x.dtype.name for x in jax.tree.leaves(params)} == {"float32"}


def test_every_parameter_has_a_place_on_eight_devices(method):
  config = promises.small_config(method)
  config.train.mesh.update(data=2, fsdp=2, tensor=2)
  state = experiment_lib.build(config).trainable.abstract_state()
  assert all(leaf.sharding.mesh.size == 8 for leaf in jax.tree.leaves(state))


def test_the_stack_saw_the_visible_tokens_and_no_more(method):
  trainable, batch = promises.traced(method)
  for seen, wanted in promises.stack_lengths(trainable, batch):
    assert seen == wanted


# Compiled.


def test_finite_and_learns_one_batch(method, unknown):
  """The student meets the targets of the last step better than it would have at first.

  Not better than it met those of the first step: a teacher's targets begin alike, and spread.
  """
  experiment, program, state, batch = fresh(method)
  untrained, seen = jax.device_get(state.params), []
  for _ in range(40):
    state, metrics = program(state, batch)
    seen.append(float(metrics["loss"]))
  assert np.isfinite(seen).all()
  assert int(state.bad_step) == -1
  last = jax.device_get(state)
  places = jax.tree.map(lambda leaf: leaf.sharding, experiment.trainable.abstract_state())

  def loss(params):
    there = jax.device_put(dataclasses.replace(last, params=params), places)
    return float(program(there, batch)[1]["loss"])

  assert loss(last.params) < 0.97 * loss(untrained), seen


@pytest.mark.parametrize("when", [0, promises.STEPS - 1], ids=["first", "last"])
def test_the_encoder_never_sees_what_is_hidden(method, when, unknown):
  experiment, _, state, batch = fresh(method)
  found = promises.leak(experiment, state, batch, when)
  if found is None:
    assert "mask" not in experiment.spec.objective.keywords, (
      "a mask, but no encoder that is given it"
    )
    return  # nothing is masked
  assert 0 < found.seen < 1
  same_bits(found.latents, found.other_hidden)
  assert not np.array_equal(
    *(jax.tree.leaves(x)[0] for x in (found.latents, found.other_visible))
  ), "the latents do not depend on what is visible either"


def test_same_seed_same_bits_and_other_seed_other_bits(method, unknown):
  experiment, program, first, batch = fresh(method)
  second = experiment.trainable.init(jax.random.key(0))
  other = experiment.trainable.init(jax.random.key(1))
  assert not np.array_equal(*(jax.tree.leaves(s.params)[-1] for s in (first, other)))
  for _ in range(2):
    first, a = program(first, batch)
    second, b = program(second, batch)
  same_bits((first, a), (second, b))


@jax.numpy_dtype_promotion("standard")  # Flax's norms mix bfloat16 and float32
def test_bfloat16_within_tolerance(method, unknown):
  _, program, state, batch = fresh(method)
  config = promises.small_config(method)
  config.train.dtype = "bfloat16"
  half = experiment_lib.build(config, devices=jax.devices()[:1])
  b = jax.jit(half.trainable.loss)(state.params, batch, 0, state.teacher, state.stats)[0]
  np.testing.assert_allclose(program(state, batch)[1]["loss"], b, rtol=0.02)


def test_data_fsdp_and_tensor_within_tolerance(method, unknown):
  """Eight devices, two along each axis, give the losses of one."""
  losses = []
  _, _, begun, _ = fresh(method)
  begun = jax.device_get(begun)
  for axis in (1, 2):
    experiment, program, batch = promises.built(method, axis)
    places = jax.tree.map(lambda leaf: leaf.sharding, experiment.trainable.abstract_state())
    state, batch = jax.device_put(begun, places), mesh.to_devices(batch, experiment.spec.mesh)
    for _ in range(3):
      state, metrics = program(state, batch)
      loss = float(metrics["loss"])  # one step at a time: all devices share one core's threads
    losses.append(loss)
  np.testing.assert_allclose(*losses, rtol=1e-4)


def test_resume_equals_never_having_stopped(method, tmp_path, monkeypatch, unknown):
  resumes(method, tmp_path, monkeypatch)


# Of the engine: once for each kind of state, whatever is known.


@pytest.mark.parametrize("method", ENGINES)
def test_a_step_that_is_not_finite_changes_nothing(method):
  _, program, state, batch = fresh(method)
  state, _ = program(state, batch)
  params = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state.params)
  broken = dataclasses.replace(state, params=params)
  before = jax.device_get(broken)
  for _ in range(2):
    broken, metrics = program(broken, batch)
    assert int(metrics["bad_step"]) == 1
  same_bits(broken, dataclasses.replace(before, bad_step=np.int32(1)))


@pytest.mark.parametrize("method", ENGINES)
def test_the_engine_resumes_each_kind_of_state(method, tmp_path, monkeypatch):
  resumes(method, tmp_path, monkeypatch)


def resumes(method, tmp_path, monkeypatch):
  experiment, program, _ = promises.built(method, 1)
  for name, found in dict(lower_update=None, flops=None, compiled=program).items():
    monkeypatch.setattr(program_lib, name, lambda *_, found=found: found)
  whole, _ = loop.train(experiment.trainable, tmp_path / "whole")
  _, facts = loop.train(experiment.trainable, tmp_path / "cut", stop_at=15)
  assert facts["step"] == 15
  again, facts = loop.train(experiment.trainable, tmp_path / "cut")
  assert (facts["start"], facts["step"]) == (15, promises.STEPS)
  same_bits(whole, again)
