"""Hard patches: who guides, who learns what, and the published schedules."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, encoders, losses, masks, targets, tokenizers
from mim_jax.methods import hpm
from mim_jax.optim import rules

WHOLE = dict(ratio=0.5, start=1.0, end=1.0)  # all masked tokens are the hardest


class Parts(nn.Module):
  def setup(self):
    self.tokenizer = tokenizers.ImagePatches(patch=2, width=8)
    self.encoder = encoders.ViT(depth=1, heads=2)
    self.predictor = hpm.LossPredictingDecoder(width=8, depth=1, heads=2, target_width=4)


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
  run(setting, drawn=drawn)
  (guide, mask) = drawn[0]
  np.testing.assert_array_equal(guide, hpm.difficulty(parts.bind(slow), batch["image"]))
  expected = np.argsort(-np.asarray(guide), 1)[:, :8]
  np.testing.assert_array_equal(np.sort(mask.masked[:, 0], 1), np.sort(expected, 1))
  # Every patch of the image counts for the guess of every other.
  far = batch["image"].at[:, 0, 0].add(3.0)
  moved = hpm.difficulty(parts.bind(slow), far) - guide
  assert (np.abs(moved) > 1e-6).all()


def test_ranking_trains_encoder_stem_and_ranker_but_not_the_other_head(setting):
  gradients = jax.jit(jax.jacrev(lambda p: run(setting, p)[1]))(setting[2])
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
  slow = jax.jit(jax.grad(lambda slow: run(setting, slow=slow)[0]))(setting[3])
  assert all(np.abs(g).max() == 0 for g in jax.tree.leaves(slow))
  total, metrics = run_quarter(setting[3])
  expected = metrics["prediction"] + 0.25 * metrics["ranking"]
  np.testing.assert_allclose(total, expected, rtol=1e-6)


@pytest.mark.parametrize(
  ("epochs", "epoch", "expected"),
  [(200, 0, 0.999), (200, 50, 0.99945), (200, 100, 0.9999), (200, 200, 0.9999), (800, 100, 0.9999)],
)
def test_the_momentum_rises_over_the_first_100_epochs(epochs, epoch, expected):
  c = config_lib.get_config("hpm", f"size=B,epochs={epochs}")
  momentum = config_lib.build(c.teachers.ema).momentum
  np.testing.assert_allclose(momentum(epoch / epochs), expected, rtol=1e-6)


@pytest.mark.parametrize(("size", "gigaflops"), [("B", 136.8), ("L", 290.7)])
def test_the_published_recipe(size, gigaflops):
  c = config_lib.get_config("hpm", f"size={size}")
  assert c.train.batch_size == 2048
  np.testing.assert_allclose(c.optimizer.learning_rate.peak, 1.2e-3)
  assert config_lib.flops(c) / 1e9 == pytest.approx(gigaflops, rel=0.01)
