"""The promises that every method keeps. A new config is held to all of them by being there."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.devices import mesh
from mim_jax.devices import program as program_lib
from mim_jax.ops import patches
from mim_jax.optim import rules
from mim_jax.train import loop

METHODS = config_lib.names()
pytestmark = pytest.mark.slow
BATCH, STEPS = 16, 40


def small_config(method):
  config = config_lib.get_config(method, "dataset=digits,size=nano")
  config.train.update(
    dict(steps=STEPS, epochs=None, batch_size=BATCH, log_every=5, checkpoint_every=20)
  )
  return config


@pytest.fixture(scope="module", params=METHODS)
def method(request):
  """A fixture of the module, so that all tests of one method come before those of the next."""
  return request.param


@functools.lru_cache(maxsize=2)
def built(method, axis):
  """An experiment over `axis` devices along each axis of the mesh, its compiled update, a batch."""
  config = small_config(method)
  config.train.mesh.update(data=axis, fsdp=axis, tensor=axis)
  experiment = experiment_lib.build(config, devices=jax.devices()[: axis**3])
  batch = next(experiment.spec.batches())
  program = program_lib.compile_update(experiment, experiment.trainable.abstract_state(), batch)
  return experiment, program, batch


def fresh(method):
  experiment, program, batch = built(method, 1)
  state = experiment.trainable.init(jax.random.key(0))
  return experiment, program, state, mesh.to_devices(batch, experiment.spec.mesh)


def same_bits(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x, y), jax.device_get(a), jax.device_get(b)
  )


def test_finite_and_learns_one_batch(method):
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


def test_compiles_once(method):
  """What the update returns has the types and places of what it was given, so it fits again."""
  experiment, program, state, batch = fresh(method)
  abstract = experiment.trainable.abstract_state()
  after, _ = program(state, batch)
  assert jax.tree.structure(after) == jax.tree.structure(abstract)
  for leaf, given in zip(jax.tree.leaves(after), jax.tree.leaves(abstract), strict=True):
    assert (leaf.shape, leaf.dtype) == (given.shape, given.dtype)
    assert leaf.sharding.is_equivalent_to(given.sharding, leaf.ndim)
    assert leaf.weak_type == given.weak_type
  program(after, batch)  # which takes nothing but what it was compiled for


def test_gradient_reaches_every_student_parameter_and_no_teacher(method):
  experiment, program, state, batch = fresh(method)

  def loss(params, teacher):
    return experiment.trainable.loss(params, batch, 1, teacher, state.stats)[0]

  teacher = {}
  if jax.tree.leaves(state.teacher):
    student, teacher = jax.jit(jax.grad(loss, argnums=(0, 1)))(state.params, state.teacher)
  else:  # the optimizer's first moment is a share of the gradient, and there already
    student = optax.tree.get(program(state, batch)[0].opt_state, "mu")
  assert jax.tree.structure(student) == jax.tree.structure(
    experiment.trainable.abstract_state().params
  )
  still = [n for n, g in rules.named_leaves(student) if not np.abs(g).max() > 0]
  # A key's bias shifts all logits of a query alike, which softmax does not see; it lies fused in
  # qkv.
  assert not still, f"no gradient reaches {still}"
  assert all(np.abs(g).max() == 0 for _, g in rules.named_leaves(teacher))


def test_the_encoder_never_sees_masked_pixels(method):
  experiment, _, state, batch = fresh(method)
  if "mask" not in experiment.spec.objective.keywords:
    pytest.skip("nothing is masked: the objective takes no mask")
  batch = experiment.spec.view(batch)
  step = experiment.spec.step(3)

  def look(image, again=()):
    """Every call of the encoder with a mask, [(mask, latents)], and every mask drawn.

    Masks may follow what a teacher sees in the image, so those of an earlier look can be had again.
    """
    calls, masks, settings = [], [], experiment.spec.objective.keywords

    def draw(*args, **kwargs):
      masks.append(again[len(masks)] if again else settings["mask"](*args, **kwargs))
      return masks[-1]

    def spy(call, args, kwargs, context):
      latents = call(*args, **kwargs)
      mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
      if (
        context.module.name == "encoder" and context.method_name == "__call__" and mask is not None
      ):
        calls.append((mask, latents))
      return latents

    def objective(parts):
      teachers = experiment.spec.bind_teachers(state.teacher, state.stats)
      with nn.intercept_methods(spy):
        drawing = {"mask": draw} if "mask" in settings else {}
        experiment.spec.objective(parts, dict(batch, image=image), step, teachers, **drawing)
      return calls, masks

    variables = {"params": state.params, **state.stats}
    return experiment.spec.parts.apply(
      variables, method=objective, mutable=list(state.stats), rngs={"dropout": step.key}
    )[0]

  look = jax.jit(look)
  calls, masks = look(batch["image"])
  assert calls, "the objective never gave the encoder a mask"
  seen = visible_pixels(calls[0][0], batch["image"].shape)
  assert 0 < seen.mean() < 1
  noise = jax.random.normal(jax.random.key(5), batch["image"].shape)
  same, other = jnp.where(seen, batch["image"], noise), noise
  same, other = (look(image, masks)[0][0][1] for image in (same, other))
  same_bits(calls[0][1], same)
  assert not np.array_equal(*(jax.tree.leaves(x)[0] for x in (calls[0][1], other)))


def visible_pixels(mask, shape):
  """Which pixels of images [b h w c] or clips [b t h w c] lie in visible patches, bool."""
  b, n = mask.positions.shape[:2]
  grid = mask.grid[-len(shape[1:-1]) :]  # in a pool of signals the image comes first
  patch = tuple(side // count for side, count in zip(shape[1:-1], grid, strict=True))
  cells = np.zeros((b, n, math.prod(patch) * shape[-1]), bool)
  np.put_along_axis(cells, np.asarray(mask.visible)[..., None], True, axis=1)
  return patches.unpatchify(jnp.asarray(cells[:, : math.prod(grid)]), grid, patch)


def test_same_seed_same_bits_and_other_seed_other_bits(method):
  experiment, program, first, batch = fresh(method)
  second = experiment.trainable.init(jax.random.key(0))
  other = experiment.trainable.init(jax.random.key(1))
  assert not np.array_equal(*(jax.tree.leaves(s.params)[-1] for s in (first, other)))
  for _ in range(2):
    first, a = program(first, batch)
    second, b = program(second, batch)
  same_bits((first, a), (second, b))


@jax.numpy_dtype_promotion("standard")  # Flax's norms mix bfloat16 and float32
def test_bfloat16_within_tolerance(method):
  _, program, state, batch = fresh(method)
  config = small_config(method)
  config.train.dtype = "bfloat16"
  half = experiment_lib.build(config, devices=jax.devices()[:1])
  b = jax.jit(half.trainable.loss)(state.params, batch, 0, state.teacher, state.stats)[0]
  a = program(state, batch)[1]["loss"]
  assert b.dtype == jnp.float32
  np.testing.assert_allclose(a, b, rtol=0.02)


def test_data_fsdp_and_tensor_within_tolerance(method):
  """Eight devices, two along each axis, give the losses of one."""
  losses = []
  _, _, begun, _ = fresh(method)
  begun = jax.device_get(begun)
  for axis in (1, 2):
    experiment, program, batch = built(method, axis)
    places = jax.tree.map(lambda leaf: leaf.sharding, experiment.trainable.abstract_state())
    state, batch = jax.device_put(begun, places), mesh.to_devices(batch, experiment.spec.mesh)
    for _ in range(3):
      state, metrics = program(state, batch)
      loss = float(metrics["loss"])  # one step at a time: all devices share one core's threads
    losses.append(loss)
  np.testing.assert_allclose(*losses, rtol=1e-4)


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


def test_resume_equals_never_having_stopped(method, tmp_path, monkeypatch):
  experiment, program, _ = built(method, 1)
  for name, found in dict(lower_update=None, flops=None, compiled=program).items():
    monkeypatch.setattr(program_lib, name, lambda *_, found=found: found)
  whole, _ = loop.train(experiment.trainable, tmp_path / "whole")
  _, facts = loop.train(experiment.trainable, tmp_path / "cut", stop_at=15)
  assert facts["step"] == 15
  again, facts = loop.train(experiment.trainable, tmp_path / "cut")
  assert (facts["start"], facts["step"]) == (15, STEPS)
  same_bits(whole, again)
