"""The decoder with a head that guesses losses."""

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core, layers, masks, predictors
from mim_jax.methods import hpm
from mim_jax.ops import positions

SHAPE = dict(width=16, stack=layers.Stack(depth=1, heads=2), target_width=5)


def setting(b=2, ratio=0.5, d=12):
  grid = (4, 4)
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, 16, 2))
  tokens = core.Tokens(jax.random.normal(jax.random.key(0), (b, 16, d)), where, grid=grid)
  mask = masks.random(jax.random.key(1), tokens, ratio=ratio)
  latents = core.Latents(core.take(tokens.values, mask.visible), tokens.values[:, :1])
  return tokens, mask, latents


def both(model, latents, mask):
  return model(latents, mask), model.losses(latents, mask)


def drawn(model, latents, mask):
  """Variables for a model, without the time that its own draw takes to compile."""
  shapes = jax.eval_shape(
    lambda key: model.init(key, latents, mask, method=both), jax.random.key(0)
  )
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), shapes)


def test_the_reconstruction_is_that_of_the_plain_decoder():
  _, mask, latents = setting()
  model = hpm.LossPredictingDecoder(**SHAPE)
  params = drawn(model, latents, mask)["params"]
  kept = {k: params[k] for k in ("embed", "mask_token", "stack", "norm", "head")}
  expected = predictors.Transformer(**SHAPE).apply({"params": kept}, latents, mask)
  found = model.apply({"params": params}, latents, mask)
  np.testing.assert_array_equal(found, expected)
  assert params.keys() - kept.keys() == {"ranking_stack", "ranking_norm", "ranking_head"}


def test_scores_of_visible_and_masked_tokens_lie_where_they_belong():
  """Without attention to others, a token's score depends on its own latent and place alone."""
  tokens, mask, latents = setting()
  model = hpm.LossPredictingDecoder(**SHAPE)
  params = drawn(model, latents, mask)
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
  tokens, mask, latents = setting()
  model = hpm.LossPredictingDecoder(**SHAPE)
  params = drawn(model, latents, mask)
  every = jnp.broadcast_to(jnp.arange(16, dtype=jnp.int32), (2, 16))
  whole = core.Latents(tokens.values, latents.prefix)
  seen, asked = model.apply(
    params, whole, core.make_mask(tokens, every, every[:, :0]), method="losses"
  )
  assert seen.shape == (2, 1, 16)
  assert asked.shape == (2, 1, 0)
  assert seen.dtype == jnp.float32


def test_scores_start_near_zero_as_the_mean_of_many_outputs_does():
  _, mask, latents = setting()
  model = hpm.LossPredictingDecoder(
    width=512, stack=layers.Stack(depth=0, heads=2), target_width=768
  )
  params = model.init(jax.random.key(2), latents, mask, method="losses")["params"]
  np.testing.assert_allclose(np.std(params["ranking_head"]["kernel"]), 0.0014, rtol=0.1)
  assert "bias" not in params["ranking_head"]
  assert "head" not in params  # the teacher's guess costs one decoder
