"""CAPI: two losses, what they reach, the recipe, and the same numbers on any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax import heads
from mim_jax.devices import mesh
from mim_jax.optim import rules

STEPS = 500_000


@functools.cache
def small():
  config = config_lib.get_config("capi", "dataset=digits,size=nano")
  config.train.update(dict(steps=10, batch_size=16))
  config.parts.encoder.stack.depth = 1
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batch = {k: jnp.asarray(v) for k, v in experiment.spec.data.train[np.arange(16)].items()}
  return experiment, experiment.trainable.init(jax.random.key(0)), batch


def test_one_and_eight_devices_give_the_same_losses():
  """The balance is over the global batch; two samples a device would balance to something else."""
  experiment, state, batch = small()
  state, found = jax.device_get(state), []
  for devices in (1, 8):
    experiment = experiment_lib.build(experiment.spec.config, devices=jax.devices()[:devices])
    batch = mesh.to_devices(batch, experiment.spec.mesh)
    loss, metrics = jax.jit(experiment.trainable.loss)(state.params, batch, 3, state.teacher)
    found.append([loss, *(metrics[k] for k in ("prediction", "clustering", "target_entropy"))])
  np.testing.assert_allclose(*found, rtol=1e-5)


def test_the_losses_share_no_parameter():
  experiment, state, batch = small()

  def one(params, name):
    return experiment.trainable.loss(params, batch, 3, state.teacher)[1][name]

  @jax.jit
  def both(params):
    return jax.grad(one)(params, "prediction"), jax.grad(one)(params, "clustering")

  prediction, clustering = both(state.params)
  reached = [
    {name.partition("/")[0] for name, g in rules.named_leaves(grads) if np.abs(g).max() > 0}
    for grads in (prediction, clustering)
  ]
  assert reached == [{"tokenizer", "encoder", "predictor", "head"}, {"clusters"}]


def test_the_heads_by_hand():
  x = jnp.asarray([[[3.0, 4.0], [0.0, 0.0]]])
  kernel = jnp.asarray([[2.0, 0.0, -1.0], [0.0, 0.5, -1.0]])
  linear = heads.LinearPrototypes(3).apply(
    {"params": dict(kernel=kernel, bias=jnp.asarray([0.1, 0.2, 0.3]))}, x
  )
  np.testing.assert_allclose(linear, [[[1.3, 0.6, -1.1], [0.1, 0.2, 0.3]]], rtol=1e-6)
  cosine = heads.CosinePrototypes(3).apply(
    {"params": dict(kernel=kernel, gain=jnp.asarray([1.0, 1.0, 2.0]))}, x
  )
  wanted = [[[0.6, 0.8, -2 * 1.4 / 2**0.5], [0, 0, 0]]]
  np.testing.assert_allclose(cosine, wanted, rtol=1e-6)


def test_first_scores_have_deviation_one():
  """So that the first assignments at temperature 0.06 are neither flat nor hard."""
  x = jax.random.normal(jax.random.key(0), (1, 64, 48))
  head = heads.LinearPrototypes(256)
  scores = head.apply(head.init(jax.random.key(1), x), x)
  assert abs(float(jnp.std(scores)) - 1) < 0.1


@pytest.fixture(scope="module")
def published():
  return config_lib.get_config("capi", "size=L")


def schedule(node):
  return config_lib.build(node)


def test_the_published_schedules(published):
  """Warm up over 50,000 steps, then 0.8 of half a cosine, for rate and momentum alike."""
  rate = schedule(published.optimizer.learning_rate)
  momentum = schedule(published.teachers.ema.momentum)
  at = np.array([0, 25_000, 50_000, STEPS]) / STEPS
  np.testing.assert_allclose(rate(at), [0, 5e-4, 1e-3, 9.55e-5], rtol=1e-3)
  np.testing.assert_allclose(1 - momentum(at), [0, 5e-4, 1e-3, 9.55e-5], rtol=2e-3)
  middle = 0.5 * 1e-3 * (1 + np.cos(0.8 * np.pi * 0.5))
  np.testing.assert_allclose(rate(275_000 / STEPS), middle, rtol=1e-5)


def test_the_published_numbers(published):
  assert (published.train.steps, published.train.epochs) == (STEPS, None)
  assert published.train.batch_size == 16_384
  assert published.patch == 14
  assert published.parts.predictor.stack.depth == 12
  assert published.parts.head.count == published.parts.clusters.count == 16_384
  assert published.data.augment.scale == (0.6, 1.0)


def test_every_parameter_has_the_published_decay_and_rate():
  experiment, state, _ = small()
  settings = experiment.spec.config.optimizer
  decay, rate = (
    dict(rules.named_leaves(rules.match_rules(settings[key], state.params, key)))
    for key in ("weight_decay_rules", "lr_rules")
  )
  wanted = {  # factor on the decay 0.1, on the rate 1e-3
    "clusters/kernel": (0.1, 0.5),
    "clusters/bias": (0.1, 0.5),
    "tokenizer/embed/kernel": (1.0, 0.2),
    "tokenizer/embed/bias": (0.0, 0.2),
    "encoder/register_token": (1.0, 1.0),
    "encoder/stack/block_00/norm1/scale": (0.1, 1.0),
    "encoder/stack/block_00/attention/query/kernel": (1.0, 1.0),
    "predictor/mask_token": (1.0, 1.0),
    "predictor/stack/block_00/norm2/scale": (0.1, 1.0),
    "head/kernel": (1.0, 1.0),
    "head/gain": (1.0, 1.0),
  }
  found = {name: (decay[name], rate[name]) for name in wanted}
  assert found == wanted


def test_one_update_of_the_clustering_head_has_its_own_rate_and_decay():
  """AdamW's first step is the sign of the gradient: rate 0.5 r, decay 0.01."""
  experiment, state, _ = small()
  optimizer = experiment.spec.optimizer
  ones = jax.tree.map(jnp.ones_like, state.params)
  opt_state = optimizer.init(state.params)
  for _ in range(2):  # the first has rate 0
    updates, opt_state = optimizer.update(ones, opt_state, state.params)
  rate = float(schedule(experiment.spec.config.optimizer.learning_rate)(1 / 10))
  kernel = state.params["clusters"]["kernel"]
  wanted = -0.5 * rate * (1 + 0.01 * kernel)
  np.testing.assert_allclose(updates["clusters"]["kernel"], wanted, rtol=1e-4)
  token = state.params["predictor"]["mask_token"]
  np.testing.assert_allclose(
    updates["predictor"]["mask_token"], -rate * (1 + 0.1 * token), rtol=1e-4
  )


def test_all_patches_of_the_teacher_are_clustered_and_its_registers_are_not():
  experiment, state, _ = small()
  seen = []

  def objective(parts):
    teachers = experiment.spec.bind_teachers(state.teacher, state.stats)
    assign = experiment.spec.objective.keywords["assign"]
    settings = dict(
      experiment.spec.objective.keywords, assign=lambda s: seen.append(s.shape) or assign(s)
    )
    batch = experiment.spec.view(experiment.spec.data.train[np.arange(4)])
    return experiment.spec.objective.func(
      parts, batch, experiment.spec.step(0), teachers, **settings
    )

  jax.eval_shape(lambda: experiment.spec.parts.apply({"params": state.params}, method=objective))
  assert seen == [(4, 16, 16)]  # images, patches, prototypes
