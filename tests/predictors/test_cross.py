import dataclasses
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import (
  core,
  encoders,
  layers,
  losses,
  masks,
  objectives,
  predictors,
  targets,
  tokenizers,
)
from mim_jax.errors import InputError
from mim_jax.ops import positions

PREDICTOR = predictors.CrossTransformer(width=8, depth=2, heads=2, target_width=3, hidden=16)


def latents(seed, n, k=1):
  values = jax.random.normal(jax.random.key(seed), (2, n + k, 6))
  return core.Latents(values[:, k:], values[:, :k])


def drawn():
  where = jnp.broadcast_to(positions.grid_positions((3, 3)), (2, 9, 2))
  tokens = core.Tokens(jnp.zeros((2, 9, 1)), where, grid=(3, 3))
  return masks.random_keep_few(jax.random.key(4), tokens, ratio=0.7)


SEEN, WHOLE, MASK = latents(0, 2), latents(1, 9), drawn()
PARAMS = jax.jit(PREDICTOR.init)(jax.random.key(2), SEEN, MASK, WHOLE)
predict = jax.jit(lambda *args: PREDICTOR.apply(PARAMS, *args))


def test_predictions_follow_their_places_whatever_the_order():
  expected = predict(SEEN, MASK, WHOLE)
  assert expected.shape == (2, 1, 7, 3)
  turned = dataclasses.replace(MASK, visible=MASK.visible[:, ::-1])
  found = predict(core.Latents(SEEN.values[:, ::-1], SEEN.prefix), turned, WHOLE)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  turned = dataclasses.replace(MASK, masked=MASK.masked[..., ::-1])
  np.testing.assert_allclose(predict(SEEN, turned, WHOLE)[:, :, ::-1], expected, atol=1e-5)


def test_the_context_is_a_set_whose_places_only_its_encoder_knows():
  expected = predict(SEEN, MASK, WHOLE)
  both = jnp.concatenate([WHOLE.prefix, WHOLE.values], 1)[:, ::-1]
  turned = core.Latents(both[:, 3:], both[:, :3])
  np.testing.assert_allclose(predict(SEEN, MASK, turned), expected, atol=1e-5)
  assert np.abs(predict(SEEN, MASK, latents(5, 9)) - expected).max() > 0.01


def test_groups_are_predicted_on_their_own_and_padding_counts_for_nothing():
  first, second = MASK.masked[..., :3], MASK.masked[..., 3:6]
  masked = jnp.concatenate([first, second], 1)
  together = dataclasses.replace(MASK, masked=masked, weight=jnp.ones(masked.shape))
  for g, alone in enumerate((first, second)):
    one = dataclasses.replace(MASK, masked=alone, weight=jnp.ones(alone.shape))
    found = predict(SEEN, together, WHOLE)[:, g : g + 1]
    np.testing.assert_allclose(found, predict(SEEN, one, WHOLE), atol=1e-5)
  padded = dataclasses.replace(
    MASK,
    valid=jnp.ones(MASK.visible.shape, bool),
    weight=jnp.broadcast_to((jnp.arange(7) < 4).astype(jnp.float32), (2, 1, 7)),
  )
  short = dataclasses.replace(MASK, masked=MASK.masked[..., :4], weight=MASK.weight[..., :4])
  found = predict(SEEN, padded, WHOLE)[:, :, :4]
  np.testing.assert_allclose(found, predict(SEEN, short, WHOLE), atol=1e-5)


def test_without_a_context_there_is_nothing_to_ask():
  with pytest.raises(InputError, match="predict_from_context"):
    PREDICTOR.apply(PARAMS, SEEN, MASK)


class Parts(nn.Module):
  def setup(self):
    self.tokenizer = tokenizers.ImagePatches(patch=2, width=8)
    self.encoder = encoders.ViT(stack=layers.Stack(depth=1, heads=2))
    self.predictor = predictors.CrossTransformer(
      width=8, depth=1, heads=2, target_width=4, hidden=16
    )


def test_both_views_are_encoded_and_both_get_gradients():
  views = {
    name: jax.random.normal(jax.random.key(i), (2, 8, 8, 1))
    for i, name in enumerate(("image", "context"))
  }
  step = core.Step(jax.random.key(0), jnp.int32(0), jnp.float32(0))

  def objective(parts, batch):
    return objectives.predict_from_context(
      parts,
      batch,
      step,
      types.SimpleNamespace(),
      entry="image",
      mask=lambda key, tokens, guide=None, progress=None: masks.random_keep_few(
        key, tokens, ratio=0.985
      ),
      target=lambda batch, teachers: jax.lax.stop_gradient(targets.pixels(batch, patch=2)),
      loss=losses.squared_error,
    ).loss

  @jax.jit
  def slopes(batch):
    params = Parts().init(jax.random.key(0), batch, method=objective)
    return jax.grad(lambda batch: Parts().apply(params, batch, method=objective))(batch)

  slope = slopes(views)
  moved = {name: np.abs(g).reshape(2, 4, 2, 4, 2).max((2, 4)) > 0 for name, g in slope.items()}
  assert moved["context"].all()  # the other view is seen whole,
  assert (moved["image"].sum((1, 2)) == 1).all()  # and one patch of this
