"""MultiMAE's predictor of one signal."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core, layers
from mim_jax.layers import cross, init
from mim_jax.layers.self_attention import Attention
from mim_jax.methods import multimae
from mim_jax.methods import multimae as signals
from mim_jax.ops import gather, positions

GRID, B, WIDTH = (3, 2, 2), 2, 12
net = multimae.MultimodalDecoder(width=16, target_width=5, stack=layers.Stack(depth=1, heads=2))
predict = jax.jit(net.apply)


@functools.cache
def world():
  """Mask of a pool of 3 x 4 tokens, latents of the 5 visible ones, parameters, predictions."""
  where = jnp.tile(positions.grid_positions(GRID[1:]), (3, 1))
  tokens = core.Tokens(jnp.zeros((B, 12, WIDTH)), jnp.tile(where, (B, 1, 1)), grid=GRID)
  visible = jnp.asarray([[7, 0, 4, 11, 5], [3, 2, 1, 8, 0]], jnp.int32)
  places = jnp.tile(jnp.arange(12, dtype=jnp.int32).reshape(3, 4), (B, 1, 1))
  weight = 1.0 - gather.member(visible, 12).astype(jnp.float32).reshape(B, 3, 4)
  mask = core.make_mask(tokens, visible, places, weight)
  keys = jax.random.split(jax.random.key(1))
  latents = core.Latents(
    jax.random.normal(keys[0], (B, 5, WIDTH)), jax.random.normal(keys[1], (B, 1, WIDTH))
  )
  params = jax.jit(net.init)(jax.random.key(2), latents, mask)
  noisy = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(3), p.shape), params)
  return mask, latents, noisy, predict(noisy, latents, mask)


def close(a, b):
  np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_a_group_is_predicted_as_it_would_be_alone():
  mask, latents, params, predictions = world()
  assert predictions.shape == (B, 3, 4, 5)
  for i in range(3):
    close(predict(params, latents, signals.group(mask, i)), predictions[:, i : i + 1])


@jax.jit
def questions(params, latents, mask):
  """What goes into the cross-attention as questions, normed, [b n d]."""
  wanted = dict(capture_intermediates=lambda module, _: module.name == "norm_asked")
  _, state = net.apply(params, latents, mask, **wanted)
  return state["intermediates"]["norm_asked"]["__call__"][0].reshape(B, 12, -1)


def test_visible_places_ask_with_their_own_content_and_hidden_ones_with_none():
  mask, latents, params, _ = world()
  other = dataclasses.replace(latents, values=latents.values + 1.0)
  before, after = (questions(params, x, mask) for x in (latents, other))
  changed = np.abs(before - after).max(-1) > 1e-4
  np.testing.assert_array_equal(changed, np.asarray(mask.weight).reshape(B, 12) == 0)


def test_the_order_of_visible_tokens_does_not_matter():
  mask, latents, params, predictions = world()
  turned = dataclasses.replace(mask, visible=mask.visible[:, ::-1])
  close(
    predict(params, dataclasses.replace(latents, values=latents.values[:, ::-1]), turned),
    predictions,
  )


def test_padding_counts_for_nothing():
  mask, latents, params, predictions = world()
  extra = jnp.argmax(mask.weight.reshape(B, -1), -1)[:, None].astype(mask.visible.dtype)
  padded = dataclasses.replace(
    mask,
    visible=jnp.concatenate([mask.visible, extra], 1),
    valid=jnp.tile(jnp.arange(6)[None] < 5, (B, 1)),
  )
  more = dataclasses.replace(latents, values=jnp.pad(latents.values, ((0, 0), (0, 1), (0, 0))))
  close(predict(params, more, padded), predictions)


def test_there_is_no_residual_around_the_cross_attention():
  """With its last map at 0 the questions are lost: all places are predicted alike."""
  mask, latents, params, _ = world()
  out = params["params"]["cross"]["out"]
  silent = {"params": {**params["params"]}}
  silent["params"]["cross"] = {
    **params["params"]["cross"],
    "out": jax.tree.map(jnp.zeros_like, out),
  }
  found = np.asarray(predict(silent, latents, mask))
  close(found, np.broadcast_to(found[:1, :1, :1], found.shape))


def test_origins_tell_signals_apart():
  """Same place, same content, another signal: only the learned embedding differs."""
  mask, latents, params, predictions = world()
  swapped = {"params": {**params["params"]}}
  swapped["params"]["signal_embedding"] = params["params"]["signal_embedding"][::-1]
  assert np.abs(predict(swapped, latents, mask) - predictions).max() > 1e-3
  assert params["params"]["signal_embedding"].shape == (3, 16)


def test_queries_keys_and_values_start_each_on_their_own():
  """Uniform in +-sqrt(6 / 2d) for each square map, not the narrower bound of the fused matrix."""
  d = 24
  bound = (6 / (2 * d)) ** 0.5
  x = jnp.zeros((1, 2, d))
  for kernels, wanted in (("xavier_per_projection", bound), ("xavier", bound / 2**0.5)):
    settings = dict(heads=2, kernel_init=kernels)
    attention = Attention(**settings).init(jax.random.key(0), x)
    asking = cross.CrossAttention(**settings).init(jax.random.key(0), x, x)["params"]
    drawn = [attention["params"]["qkv"], asking["query"], asking["key_value"]]
    for kernel in (np.abs(p["kernel"]) for p in drawn):
      assert 0.97 * wanted < kernel.max() <= wanted * 1.0001
  plain = init.kernel("xavier_per_projection")(jax.random.key(0), (d, 4 * d))
  assert np.abs(plain).max() <= (6 / (5 * d)) ** 0.5
