"""The promises that every method keeps. A new config is held to all of them by being there."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax import experiment as experiment_lib
from mim_jax.ops import patches
from mim_jax.train import loop, mesh, names

METHODS = config_lib.names()
BATCH = 16


def small_config(method, **train):
  config = config_lib.get_config(method, "dataset=digits,size=nano")
  config.train.update(
    dict(steps=40, epochs=None, batch_size=BATCH, log_every=5, checkpoint_every=10) | train
  )
  return config


@functools.cache
def built(method, devices=1):
  """An experiment, its compiled update, a batch, and how often the update was traced."""
  experiment = experiment_lib.Experiment(small_config(method), devices=jax.devices()[:devices])
  batch = next(experiment.batches())
  program = loop.compile_update(experiment, experiment.abstract_state(), batch)
  return experiment, program, batch


def fresh(method, devices=1):
  experiment, program, batch = built(method, devices)
  state = experiment.init(jax.random.key(0))
  return experiment, program, state, mesh.to_devices(batch, experiment.mesh)


def same_bits(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x, y), jax.device_get(a), jax.device_get(b)
  )


@pytest.mark.parametrize("method", METHODS)
def test_finite_and_learns_one_batch(method):
  _, program, state, batch = fresh(method)
  seen = []
  for _ in range(40):
    state, metrics = program(state, batch)
    seen.append(float(metrics["loss"]))
  assert np.isfinite(seen).all()
  assert int(state.bad_step) == -1
  assert np.mean(seen[-5:]) < 0.97 * np.mean(seen[:5]), seen


@pytest.mark.parametrize("method", METHODS)
def test_compiles_once(method):
  experiment, _, state, batch = fresh(method)
  step = jax.jit(experiment.update)
  for _ in range(3):
    state, _ = step(state, batch)
  assert step._cache_size() == 1


@pytest.mark.parametrize("method", METHODS)
def test_gradient_reaches_every_student_parameter_and_no_teacher(method):
  experiment, _, state, batch = fresh(method)

  def loss(params, teacher):
    return experiment.loss(params, batch, 1, teacher, state.stats)[0]

  student, teacher = jax.jit(jax.grad(loss, argnums=(0, 1)))(state.params, state.teacher)
  still = [n for n, g in names.named_leaves(student) if not np.abs(g).max() > 0]
  # A key's bias shifts all logits of a query alike, which softmax does not see; it lies fused in
  # qkv.
  assert not still, f"no gradient reaches {still}"
  assert all(np.abs(g).max() == 0 for _, g in names.named_leaves(teacher))


@pytest.mark.parametrize("method", METHODS)
def test_the_encoder_never_sees_masked_pixels(method):
  experiment, _, state, batch = fresh(method)
  batch = experiment.view(batch)
  step = experiment.step(3)

  def look(image):
    """Every call of the encoder with a mask: [(mask, grid, latents)]."""
    calls = []

    def spy(call, args, kwargs, context):
      latents = call(*args, **kwargs)
      mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
      if (
        context.module.name == "encoder" and context.method_name == "__call__" and mask is not None
      ):
        calls.append((mask, latents))
      return latents

    def objective(parts):
      teachers = experiment._bound(state.teacher, state.stats)
      with nn.intercept_methods(spy):
        experiment.objective(parts, dict(batch, image=image), step, teachers)
      return calls

    variables = {"params": state.params, **state.stats}
    return experiment.parts.apply(
      variables, method=objective, mutable=list(state.stats), rngs={"dropout": step.key}
    )[0]

  calls = look(batch["image"])
  assert calls, "the objective never gave the encoder a mask"
  seen = visible_pixels(calls[0][0], batch["image"].shape)
  assert 0 < seen.mean() < 1
  noise = jax.random.normal(jax.random.key(5), batch["image"].shape)
  same_bits(calls[0][1], look(jnp.where(seen, batch["image"], noise))[0][1])
  assert not np.array_equal(*(jax.tree.leaves(x)[0] for x in (calls[0][1], look(noise)[0][1])))


def visible_pixels(mask, shape):
  """Which pixels of images [b h w c] lie in visible patches, bool."""
  b, n = mask.positions.shape[:2]
  patch = tuple(side // count for side, count in zip(shape[1:3], mask.grid, strict=True))
  cells = np.zeros((b, n, patch[0] * patch[1] * shape[-1]), bool)
  np.put_along_axis(cells, np.asarray(mask.visible)[..., None], True, axis=1)
  return patches.unpatchify(jnp.asarray(cells), mask.grid, patch)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits_and_other_seed_other_bits(method):
  experiment, program, first, batch = fresh(method)
  second = experiment.init(jax.random.key(0))
  other = experiment.init(jax.random.key(1))
  assert not np.array_equal(*(jax.tree.leaves(s.params)[-1] for s in (first, other)))
  for _ in range(2):
    first, a = program(first, batch)
    second, b = program(second, batch)
  same_bits((first, a), (second, b))


@pytest.mark.parametrize("method", METHODS)
@jax.numpy_dtype_promotion("standard")  # Flax's norms mix bfloat16 and float32
def test_bfloat16_within_tolerance(method):
  experiment, _, state, batch = fresh(method)
  config = small_config(method)
  config.train.dtype = "bfloat16"
  half = experiment_lib.Experiment(config, devices=jax.devices()[:1])
  a, b = (
    jax.jit(e.loss)(state.params, batch, 1, state.teacher, state.stats)[0]
    for e in (experiment, half)
  )
  assert b.dtype == jnp.float32
  np.testing.assert_allclose(a, b, rtol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_two_devices_within_tolerance(method):
  losses = []
  for devices in (1, 2):
    _, program, state, batch = fresh(method, devices)
    for _ in range(3):
      state, metrics = program(state, batch)
    losses.append(float(metrics["loss"]))
  np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_is_not_finite_changes_nothing(method):
  experiment, _, state, batch = fresh(method)
  experiment = experiment_lib.Experiment(experiment.config, devices=jax.devices()[:1])
  whole, experiment._forward = experiment._forward, lambda *a: _broken_at(2, whole, *a)
  step = jax.jit(experiment.update)
  for _ in range(2):
    state, _ = step(state, batch)
  healthy = state
  for _ in range(2):
    state, metrics = step(state, batch)
  assert int(metrics["bad_step"]) == 2
  same_bits(state, dataclasses.replace(healthy, bad_step=np.int32(2)))


def _broken_at(index, forward, params, stats, teacher, batch, step: core.Step):
  loss, aux = forward(params, stats, teacher, batch, step)
  return jnp.where(step.index == index, jnp.nan, loss), aux


@pytest.mark.parametrize("method", METHODS)
def test_resume_equals_never_having_stopped(method, tmp_path):
  whole, _ = experiment_lib.Experiment(small_config(method, steps=20)).train(tmp_path / "whole")
  _, facts = experiment_lib.Experiment(small_config(method, steps=20)).train(
    tmp_path / "cut", stop_at=10
  )
  assert facts["step"] == 10
  again, facts = experiment_lib.Experiment(small_config(method, steps=20)).train(tmp_path / "cut")
  assert (facts["start"], facts["step"]) == (10, 20)
  same_bits(whole, again)
