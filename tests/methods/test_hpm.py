"""HPM: who guides, who learns what, the decoder that guesses losses, its losses, the recipe."""

import itertools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, encoders, layers, losses, masks, predictors, targets, tokenizers
from mim_jax.methods import hpm
from mim_jax.ops import positions
from mim_jax.optim import rules

WHOLE = dict(ratio=0.5, start=1.0, end=1.0)  # all masked tokens are the hardest
STACK = layers.Stack(depth=1, heads=2)


class Parts(nn.Module):
  def setup(self):
    self.tokenizer = tokenizers.ImagePatches(patch=2, width=8)
    self.encoder = encoders.ViT(STACK)
    self.predictor = hpm.LossPredictingDecoder(width=8, target_width=4, stack=STACK)


def objective(parts, batch, slow, weight=1.0, drawn=None):
  def mask(key, tokens, guide, progress):
    found = masks.easy_to_hard(key, tokens, guide, progress, **WHOLE)
    if drawn is not None:
      drawn.append((guide, found))
    return found

  return hpm.mine_hard_patches(
    parts,
    batch,
    core.Step(jax.random.key(0), jnp.int32(3), jnp.float32(0.5)),
    types.SimpleNamespace(ema=slow),
    entry="image",
    mask=mask,
    target=lambda batch, teachers: targets.pixels(batch, patch=2, normalize=False),
    loss=losses.squared_error,
    ranking=hpm.pairwise_order,
    weight=weight,
  )


@pytest.fixture(scope="module")
def setting():
  parts, batch = Parts(), {"image": jax.random.normal(jax.random.key(1), (2, 8, 8, 1))}
  init = lambda key: parts.init(key, method=lambda p: objective(p, batch, p))
  shapes, rng = jax.eval_shape(init, jax.random.key(0)), np.random.default_rng(0)
  draw = lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype)
  student, slow = (jax.tree.map(draw, shapes) for _ in range(2))
  return parts, batch, student, slow


def run(setting, student=None, slow=None, **settings):
  parts, batch = setting[:2]
  student = setting[2] if student is None else student
  teacher = parts.bind(setting[3] if slow is None else slow)
  return parts.apply(student, method=lambda p: objective(p, batch, teacher, **settings))


def test_the_slow_copy_sees_the_whole_image_and_its_hardest_patches_are_masked(setting):
  parts, batch, _, slow = setting
  drawn = []
  found = run(setting, drawn=drawn)
  (guide, mask) = drawn[0]
  np.testing.assert_array_equal(guide, hpm.difficulty(parts.bind(slow), batch["image"]))
  expected = np.argsort(-np.asarray(guide), 1)[:, :8]
  np.testing.assert_array_equal(np.sort(mask.masked[:, 0], 1), np.sort(expected, 1))
  np.testing.assert_array_equal(found.more["scores"], guide)
  np.testing.assert_array_equal(found.mask.masked, mask.masked)
  # Every patch of the image counts for the guess of every other.
  far = batch["image"].at[:, 0, 0].add(3.0)
  moved = hpm.difficulty(parts.bind(slow), far) - guide
  assert (np.abs(moved) > 1e-6).all()


def test_ranking_trains_encoder_stem_and_ranker_but_not_the_other_head(setting):
  gradients = jax.jit(jax.jacrev(lambda p: run(setting, p).metrics))(setting[2])
  ranking, prediction = (gradients[name]["params"] for name in ("ranking", "prediction"))
  reached = {
    name: (np.abs(g).max() > 1e-9, np.abs(p).max() > 1e-9)
    for (name, g), (_, p) in zip(
      rules.named_leaves(ranking), rules.named_leaves(prediction), strict=True
    )
  }
  for name, found in reached.items():
    head = name.split("/")[1]
    expected = {
      "stack": (False, True),
      "norm": (name.startswith("encoder"), True),
      "head": (False, True),
      "ranking_stack": (True, False),
      "ranking_norm": (True, False),
      "ranking_head": (True, False),
    }
    if name.startswith("predictor"):
      assert found == expected.get(head, (True, True)), name
    else:
      assert found == (True, True), name


def test_the_teacher_gets_no_gradient_and_the_sum_is_weighted(setting):
  run_quarter = jax.jit(lambda slow: run(setting, slow=slow, weight=0.25))
  slow = jax.jit(jax.grad(lambda slow: run(setting, slow=slow).loss))(setting[3])
  assert all(np.abs(g).max() == 0 for g in jax.tree.leaves(slow))
  found = run_quarter(setting[3])
  expected = found.metrics["prediction"] + 0.25 * found.metrics["ranking"]
  np.testing.assert_allclose(found.loss, expected, rtol=1e-6)


SHAPE = dict(width=16, stack=STACK, target_width=5)


def world(b=2, ratio=0.5, d=12):
  grid = (4, 4)
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, 16, 2))
  tokens = core.Tokens(jax.random.normal(jax.random.key(0), (b, 16, d)), where, grid=grid)
  mask = masks.random(jax.random.key(1), tokens, ratio=ratio)
  latents = core.Latents(core.take(tokens.values, mask.visible), tokens.values[:, :1])
  return tokens, mask, latents


def both(model, latents, mask):
  return model(latents, mask), model.losses(latents, mask)


def variables_of(model, latents, mask):
  """Variables for a model, without the time that its own draw takes to compile."""
  shapes = jax.eval_shape(
    lambda key: model.init(key, latents, mask, method=both), jax.random.key(0)
  )
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), shapes)


def test_the_reconstruction_is_that_of_the_plain_decoder():
  _, mask, latents = world()
  model = hpm.LossPredictingDecoder(**SHAPE)
  params = variables_of(model, latents, mask)["params"]
  kept = {k: params[k] for k in ("embed", "mask_token", "stack", "norm", "head")}
  expected = predictors.Transformer(**SHAPE).apply({"params": kept}, latents, mask)
  found = model.apply({"params": params}, latents, mask)
  np.testing.assert_array_equal(found, expected)
  assert params.keys() - kept.keys() == {"ranking_stack", "ranking_norm", "ranking_head"}


def test_scores_of_visible_and_masked_tokens_lie_where_they_belong():
  """Without attention to others, a token's score depends on its own latent and place alone."""
  tokens, mask, latents = world()
  model = hpm.LossPredictingDecoder(**SHAPE)
  params = variables_of(model, latents, mask)
  seen, asked = model.apply(params, latents, mask, method="losses")
  assert seen.shape == (2, 1, 8)
  assert asked.shape == (2, 1, 8)
  order = jax.random.permutation(jax.random.key(3), 8)
  moved = core.make_mask(tokens, mask.visible[:, order], mask.masked[:, 0][:, ::-1])
  again = core.Latents(latents.values[:, order], latents.prefix)
  seen_again, asked_again = model.apply(params, again, moved, method="losses")
  np.testing.assert_allclose(seen_again, seen[:, :, order], atol=1e-5)
  np.testing.assert_allclose(asked_again, asked[:, :, ::-1], atol=1e-5)


def test_all_tokens_can_be_scored_with_none_masked():
  tokens, mask, latents = world()
  model = hpm.LossPredictingDecoder(**SHAPE)
  params = variables_of(model, latents, mask)
  every = jnp.broadcast_to(jnp.arange(16, dtype=jnp.int32), (2, 16))
  whole = core.Latents(tokens.values, latents.prefix)
  seen, asked = model.apply(
    params, whole, core.make_mask(tokens, every, every[:, :0]), method="losses"
  )
  assert seen.shape == (2, 1, 16)
  assert asked.shape == (2, 1, 0)
  assert seen.dtype == jnp.float32


def test_scores_start_near_zero_as_the_mean_of_many_outputs_does():
  _, mask, latents = world()
  model = hpm.LossPredictingDecoder(
    width=512, stack=layers.Stack(depth=0, heads=2), target_width=768
  )
  params = model.init(jax.random.key(2), latents, mask, method="losses")["params"]
  np.testing.assert_allclose(np.std(params["ranking_head"]["kernel"]), 0.0014, rtol=0.1)
  assert "bias" not in params["ranking_head"]
  assert "head" not in params  # the teacher's guess costs one decoder


def by_pairs(scores, errors, real):
  """(sum, count) over ordered pairs of real tokens whose errors differ."""
  total, count = 0.0, 0
  for i, j in itertools.permutations(range(len(scores)), 2):
    if real[i] and real[j] and errors[i] != errors[j]:
      margin = scores[i] - scores[j] if errors[i] > errors[j] else scores[j] - scores[i]
      total, count = total + np.log1p(np.exp(-margin)), count + 1
  return total, count


def pairs(seed=0, shape=(3, 2, 7)):
  rng = np.random.default_rng(seed)
  scores = rng.normal(size=shape).astype(np.float32)
  errors = rng.integers(0, 4, shape).astype(np.float32)  # with ties
  weight = (rng.uniform(size=shape) < 0.8).astype(np.float32)
  return scores, errors, weight


def test_the_weighted_mean_is_that_over_all_pairs_of_the_batch():
  scores, errors, weight = pairs()
  found = core.weighted_mean(*hpm.pairwise_order(*map(jnp.asarray, (scores, errors, weight))))
  sums = [by_pairs(scores[i], errors[i], weight[i]) for i in np.ndindex(3, 2)]
  total, count = map(sum, zip(*sums, strict=True))
  np.testing.assert_allclose(found, total / count, rtol=1e-5)


def test_it_starts_at_ln_2_and_falls_to_0_with_the_right_order():
  errors = jnp.asarray([[[0.1, 0.5, 0.9]]])
  weight = jnp.ones_like(errors)

  def cost(scores):
    return core.weighted_mean(*hpm.pairwise_order(scores, errors, weight))

  np.testing.assert_allclose(cost(jnp.zeros_like(errors)), np.log(2), rtol=1e-6)
  assert cost(100 * errors) < 1e-6
  assert cost(-100 * errors) > 10
  np.testing.assert_allclose(cost(errors + 5), cost(errors), rtol=1e-6)  # only the order counts
  push = jax.grad(cost)(jnp.zeros_like(errors))[0, 0]
  assert push[0] > 0 > push[2]  # the easiest is to score lower, the hardest higher
  assert np.isfinite(cost(1e4 * errors))


def test_without_any_pair_it_is_0():
  same = jnp.ones((2, 1, 4))
  assert core.weighted_mean(*hpm.pairwise_order(same, same, same)) == 0


def test_errors_get_no_gradient():
  scores, errors, weight = map(jnp.asarray, pairs())
  for loss in (hpm.pairwise_order, hpm.standardized_error):
    gradient = jax.grad(lambda e, f=loss: core.weighted_mean(*f(scores, e, weight)))(errors)
    np.testing.assert_array_equal(gradient, 0)


def test_standardized_errors_are_those_of_the_group():
  scores, errors, weight = pairs()
  weight[:, :, :3] = 1
  found = core.weighted_mean(*hpm.standardized_error(*map(jnp.asarray, (scores, errors, weight))))
  parts = []
  for i in np.ndindex(3, 2):
    kept = weight[i] > 0
    e = errors[i][kept]
    standard = (e - e.mean()) / np.sqrt(e.var(ddof=1) + 1e-6)
    parts.extend((scores[i][kept] - standard) ** 2)
  np.testing.assert_allclose(found, np.mean(parts), rtol=1e-4)


@pytest.mark.parametrize(
  ("epochs", "epoch", "expected"),
  [(200, 0, 0.999), (200, 50, 0.99945), (200, 100, 0.9999), (200, 200, 0.9999), (800, 100, 0.9999)],
)
def test_the_momentum_rises_over_the_first_100_epochs(epochs, epoch, expected):
  c = config_lib.get_config("hpm", f"size=B,epochs={epochs}")
  momentum = config_lib.build(c.teachers.ema).momentum
  np.testing.assert_allclose(momentum(epoch / epochs), expected, rtol=1e-6)


@pytest.mark.parametrize("size", ["B", "L"])
def test_the_published_recipe(size):
  c = config_lib.get_config("hpm", f"size={size}")
  assert c.train.batch_size == 2048
  np.testing.assert_allclose(c.optimizer.learning_rate.peak, 1.2e-3)
