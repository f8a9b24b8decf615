"""iBOT: which losses are taken of which views, its head and targets, what its config promises."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, losses
from mim_jax import experiment as experiment_lib
from mim_jax.errors import InputError
from mim_jax.heads import projection
from mim_jax.methods import ibot

LOSS = functools.partial(losses.soft_cross_entropy, temperature=0.1)


def scores(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def cross_entropy(scores, truth):
  return -(truth * jax.nn.log_softmax(scores / 0.1)).sum(-1)


def test_class_tokens_are_compared_across_views_only():
  b, k = 3, 5
  classes, truth = scores(0, b, 6, k), jax.nn.softmax(scores(1, b, 2, k))
  terms = [cross_entropy(classes[:, a], truth[:, q]) for q in range(2) for a in range(6) if a != q]
  assert len(terms) == 2 * (2 + 4) - 2
  found = ibot._across(LOSS, classes, truth)
  np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)


def test_a_view_without_mask_counts_as_zero():
  values = jnp.asarray([[[1.0, 3.0, 9.0], [5.0, 9.0, 9.0]], [[2.0, 2.0, 2.0], [9.0, 9.0, 9.0]]])
  weight = jnp.asarray([[[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])
  assert ibot._of_the_masked(values, weight) == (2 + 5 + 2 + 0) / 4


class Looking:
  """A network whose tokens are its pixels and whose head adds one; it notes what it was shown."""

  def __init__(self, shift=0.0):
    self.shift, self.seen = shift, []
    self.head = _Head(self.shift)

  def tokenizer(self, image):
    values = image.reshape(image.shape[0], -1, 4)
    where = jnp.zeros((*values.shape[:2], 2))
    return core.Tokens(values, where, grid=(values.shape[1], 1))

  def encoder(self, tokens, mask=None):
    self.seen.append((tokens.values.shape, mask))
    return core.Latents(tokens.values, jnp.mean(tokens.values, 1, keepdims=True))

  def class_targets(self, scores, temperature, mean, weight):
    self.classes = scores, temperature, mean, weight
    return jax.nn.softmax(scores / temperature)

  def patch_targets(self, scores, temperature, mean, weight):
    self.patches = scores, temperature, mean, weight
    return jax.nn.softmax(scores / temperature)


class _Head:
  def __init__(self, shift):
    self.shift = shift

  def __call__(self, x):
    return x + self.shift

  def mean(self, x):
    return jnp.mean(x + self.shift, (0, 1))


def second_and_third(key, tokens, progress):
  """Hides token 1 or tokens 1 and 2, by the key; the list is padded."""
  both = jax.random.bernoulli(key, 0.5, (tokens.values.shape[0],)).astype(jnp.float32)
  ids = jnp.broadcast_to(jnp.arange(6), tokens.values.shape[:2])
  weight = jnp.stack([jnp.ones_like(both), both], 1)
  return core.make_mask(tokens, ids, ids[:, 1:3], weight[:, None])


def test_who_sees_what_and_what_meets_what():
  b = 4
  batch = dict(image=scores(0, b, 6, 4, 1), other=scores(1, b, 6, 4, 1))
  batch["local"] = scores(2, b, 3, 2, 4, 1)
  student, slow = Looking(), Looking(shift=1.0)
  step = core.Step(jax.random.key(3), jnp.asarray(0), jnp.asarray(0.25))
  found = ibot.distill_views(
    student,
    batch,
    step,
    types.SimpleNamespace(ema=slow),
    mask=second_and_third,
    loss=LOSS,
    temperature=lambda p: 0.5 + p,
    patch_temperature=lambda p: 2.0 + p,
    patch_weight=3.0,
  )
  assert [(shape, mask is None) for shape, mask in student.seen] == [
    ((b, 6, 4), False),
    ((b, 6, 4), False),
    ((3 * b, 2, 4), True),
  ]
  assert [(shape, mask) for shape, mask in slow.seen] == [((b, 6, 4), None)] * 2
  masks = [mask for _, mask in student.seen[:2]]
  assert not np.array_equal(masks[0].weight, masks[1].weight)  # each view has its own coin

  views = jnp.stack([batch[name][..., 0] for name in ("image", "other")], 1)  # [b 2 6 4]
  classes = jnp.concatenate([views.mean(2), batch["local"][..., 0].mean(2)], 1)
  given, temperature, mean, _ = student.classes
  np.testing.assert_allclose(given, views.mean(2) + 1, rtol=1e-5)
  np.testing.assert_allclose(mean, given.mean((0, 1)), rtol=1e-4)
  assert temperature == 0.75
  across = ibot._across(LOSS, classes, jax.nn.softmax(given / 0.75))
  np.testing.assert_allclose(found.metrics["class_loss"], across, rtol=1e-4)

  given, temperature, mean, weight = student.patches
  np.testing.assert_allclose(given, (views[:, :, 1:3] + 1).reshape(b, 4, 4), rtol=1e-5)
  np.testing.assert_allclose(mean, (views + 1).mean((0, 1, 2)), rtol=1e-4)  # of all places
  np.testing.assert_array_equal(weight, jnp.concatenate([m.weight[:, 0] for m in masks], 1))
  assert temperature == 2.25
  terms = cross_entropy(views[:, :, 1:3], jax.nn.softmax((views[:, :, 1:3] + 1) / 2.25))
  within = ibot._of_the_masked(terms, jnp.stack([m.weight[:, 0] for m in masks], 1))
  np.testing.assert_allclose(found.metrics["patch_loss"], within, rtol=1e-4)
  np.testing.assert_allclose(found.loss, across + 3 * within, rtol=1e-4)


def head(gains=False, **settings):
  return projection.ProjectionHead(count=7, hidden=12, bottleneck=5, gains=gains, **settings)


def test_scores_are_cosines():
  x = scores(0, 3, 2, 8)
  model = head()
  params = model.init(jax.random.key(1), x)
  found = model.apply(params, x)
  assert found.shape == (3, 2, 7)
  assert jnp.abs(found).max() <= 1 + 1e-5
  p = params["params"]
  assert sorted(p) == ["codes", "first", "second", "third"]
  y = jax.nn.gelu(x @ p["first"]["kernel"], approximate=False)
  y = jax.nn.gelu(y @ p["second"]["kernel"], approximate=False) @ p["third"]["kernel"]
  y = y / jnp.linalg.norm(y, axis=-1, keepdims=True)
  columns = p["codes"] / jnp.linalg.norm(p["codes"], axis=0, keepdims=True)
  np.testing.assert_allclose(found, y @ columns, atol=1e-5)


def test_gains_stretch_the_columns_and_length_does_not_matter():
  x = scores(0, 3, 8)
  model = head(gains=True)
  params = model.init(jax.random.key(1), x)["params"]
  np.testing.assert_array_equal(params["gain"], 1)
  plain = model.apply({"params": params}, x)
  factors = jnp.arange(1.0, 8)[None]
  longer = dict(params, gain=factors, codes=params["codes"] * 3)
  np.testing.assert_allclose(model.apply({"params": longer}, x), plain * factors, rtol=1e-4)


def test_the_mean_of_scores_by_one_vector():
  x = scores(0, 3, 9, 8)
  model = head(gains=True)
  params = model.init(jax.random.key(1), x)
  found = model.apply(params, x, method="mean")
  np.testing.assert_allclose(found, model.apply(params, x).mean((0, 1)), atol=1e-6)


def test_a_centre_is_used_before_it_follows():
  model, given = ibot.CenteredTargets(momentum=0.9), scores(0, 3, 4, 6)
  mean = given.mean((0, 1))
  start = model.init(jax.random.key(0), given, 0.5, mean)
  np.testing.assert_array_equal(start["centres"]["centre"], 0)
  found, after = model.apply(start, given, 0.5, mean, mutable=["centres"])
  np.testing.assert_allclose(found, jax.nn.softmax(given / 0.5), rtol=1e-5)
  np.testing.assert_allclose(after["centres"]["centre"], 0.1 * mean, rtol=1e-5)
  found, after = model.apply(after, given, 0.5, mean, mutable=["centres"])
  expected = jax.nn.softmax((given - 0.1 * mean[None, None]) / 0.5)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(after["centres"]["centre"], 0.19 * mean, rtol=1e-5)
  model.apply(after, given, 0.5, mean)  # where nothing may change, nothing does


def test_balanced_targets_use_every_code_alike():
  found = ibot.SinkhornTargets(iterations=30).apply({}, scores(0, 50, 2, 6), 0.5)
  np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
  np.testing.assert_allclose(found.sum((0, 1)), 100 / 6, rtol=1e-3)


def test_what_fills_up_does_not_balance_and_nothing_at_all_is_no_fault():
  given, weight = scores(0, 5, 4, 6), jnp.zeros((5, 4)).at[:, :3].set(1.0)
  model = ibot.SinkhornTargets()
  found = model.apply({}, given, 0.5, None, weight)[:, :3]
  np.testing.assert_allclose(found, model.apply({}, given[:, :3], 0.5), rtol=1e-4)
  assert jnp.isfinite(model.apply({}, given, 0.5, None, jnp.zeros((5, 4)))).all()


@pytest.mark.parametrize("model", [ibot.CenteredTargets(), ibot.SinkhornTargets()])
def test_no_gradient_passes_targets(model):
  def total(given):
    variables = model.init(jax.random.key(0), given, 0.5, jnp.zeros(6))
    return jnp.sum(model.apply(variables, given, 0.5, jnp.zeros(6)) ** 2)

  np.testing.assert_array_equal(jax.grad(total)(scores(0, 3, 4, 6)), 0)


def published(size, **settings):
  c = config_lib.get_config("ibot", f"dataset=digits,image=224,size={size}")
  c.train.batch_size = 1024
  return c


@pytest.mark.parametrize(
  ("size", "encoder", "head"),
  [("S", 21_665_664 + 384, 7_614_720), ("B", 85_798_656 + 768, 8_392_960)],
)
def test_the_published_networks(size, encoder, head):
  """ViT-S/16 and ViT-B/16 with a class token, and a mask token; S learns gains, B does not."""
  c = published(size)
  c.train.batch_size = 8
  params = experiment_lib.build(c, devices=jax.devices()[:1]).trainable.abstract_state().params
  counts = {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in params.items()}
  missing = 2 * c.patch**2 * c.parts.tokenizer.width  # the digits are grey
  assert counts["encoder"] + counts["tokenizer"] + missing == encoder
  assert counts["head"] == head


def test_schedules_of_the_published_recipe():
  c = published("S")
  nodes = c.optimizer.learning_rate, c.optimizer.weight_decay, c.teachers.ema.momentum
  rate, decay, momentum, warm = map(config_lib.build, (*nodes, c.objective.temperature))
  found = [float(rate(p)) for p in (0.0, 10 / 800, 1.0)]
  np.testing.assert_allclose(found, [0, 2e-3, 1e-6], rtol=1e-4)
  np.testing.assert_allclose([float(decay(p)) for p in (0, 0.5, 1)], [0.04, 0.22, 0.4], rtol=1e-5)
  np.testing.assert_allclose([float(momentum(p)) for p in (0, 0.5, 1)], [0.996, 0.998, 1])
  found = [float(warm(epoch / 800)) for epoch in (0, 15, 15.9, 29, 800)]
  each = np.linspace(0.04, 0.07, 30)  # of the reference, one an epoch
  np.testing.assert_allclose(found, each[[0, 15, 15, 29, 29]], rtol=1e-5)
  assert c.optimizer.start_rules == (("^head/(codes|gain)$", 1 / 800),)
  assert c.optimizer.clip == 3.0


def test_centres_follow_and_the_frozen_map_waits():
  c = config_lib.get_config("ibot", "dataset=digits,size=nano")
  c.train.update(dict(steps=100, epochs=None, batch_size=4))
  experiment = experiment_lib.build(c, devices=jax.devices()[:1])
  state = experiment.trainable.init(jax.random.key(0))
  centres = state.stats["centres"]
  assert all(np.abs(x).max() == 0 for x in jax.tree.leaves(centres))
  after, _ = jax.jit(experiment.trainable.update)(state, next(experiment.spec.batches()))
  assert sorted(after.stats["centres"]) == ["class_targets", "patch_targets"]
  assert all(0 < np.abs(x).max() < 0.2 for x in jax.tree.leaves(after.stats["centres"]))
  head, before = after.params["head"], state.params["head"]
  np.testing.assert_array_equal(head["codes"], before["codes"])
  np.testing.assert_array_equal(head["gain"], before["gain"])


def test_targets_may_be_balanced_and_other_words_are_refused():
  c = config_lib.get_config("ibot", "dataset=digits,targets=sinkhorn")
  assert c.parts.patch_targets.part.endswith("SinkhornTargets")
  with pytest.raises(InputError, match=r"targets: 'sinkhron'.*sinkhorn"):
    config_lib.get_config("ibot", "targets=sinkhron")
