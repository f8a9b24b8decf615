"""The rotary ViT and the predictor that goes with it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, layers, masks, predictors
from mim_jax.errors import InputError
from mim_jax.ops import positions

GRID, WIDTH = (4, 4), 16


def encoder(depth, registers=4, **settings):
  return encoders.RopeViT(layers.RopeStack(depth, 2, **settings), registers)


def predictor(depth=2, **settings):
  return predictors.CrossAttentionDecoder(layers.RopeStack(depth, 2, **settings))


encode, predict = jax.jit(encoder(depth=2).apply), jax.jit(predictor().apply)


def tokens_of(seed=0, b=2):
  values = jax.random.normal(jax.random.key(seed), (b, 16, WIDTH))
  return core.Tokens(
    values, jnp.broadcast_to(positions.grid_positions(GRID), (b, 16, 2)), grid=GRID
  )


def mask_of(tokens, seed=1):
  return masks.inverse_block(jax.random.key(seed), tokens, ratio=0.65)


def close(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), a, b)


@functools.cache
def world():
  """Tokens, mask, encoder with parameters, latents, predictor with parameters, predictions."""
  tokens = tokens_of()
  mask, net, head = mask_of(tokens), encoder(depth=2), predictor()
  params = jax.jit(net.init)(jax.random.key(0), tokens, mask)
  latents = encode(params, tokens, mask)
  asked = jax.jit(head.init)(jax.random.key(1), latents, mask)
  return tokens, mask, params, latents, asked, predict(asked, latents, mask)


def test_shapes_and_the_absence_of_biases_and_norm_scales():
  _, mask, params, latents, asked, predictions = world()
  assert latents.values.shape == (2, mask.visible.shape[1], WIDTH)
  assert latents.prefix.shape == (2, 4, WIDTH)
  assert predictions.shape == (2, 1, 10, WIDTH)
  names = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path((params, asked))]
  assert not [n for n in names if "bias" in n or "['norm']" in n]
  # The final norms have no scale: every token has mean square 1.
  for x in (latents.values, predictions):
    np.testing.assert_allclose(np.square(x).mean(-1), 1.0, rtol=1e-3)


def test_a_prediction_is_the_same_whatever_else_is_asked():
  _, mask, _, latents, asked, predictions = world()
  few = core.Mask(
    mask.visible, mask.masked[:, :, 3:5], mask.weight[:, :, 3:5], mask.positions, grid=mask.grid
  )
  close(predict(asked, latents, few), predictions[:, :, 3:5])


def test_groups_are_predicted_as_they_would_be_alone():
  _, mask, _, latents, asked, predictions = world()
  two = core.Mask(
    mask.visible,
    mask.masked.reshape(2, 2, 5),
    mask.weight.reshape(2, 2, 5),
    mask.positions,
    grid=mask.grid,
  )
  close(predict(asked, latents, two), predictions.reshape(2, 2, 5, WIDTH))


def test_padding_counts_for_nothing():
  tokens, mask, params, latents, asked, predictions = world()
  b, v = mask.visible.shape
  more = jnp.concatenate([mask.visible, mask.masked[:, 0, :2]], 1)
  valid = jnp.arange(v + 2)[None] < jnp.full((b, 1), v)
  padded = core.Mask(more, mask.masked, mask.weight, mask.positions, valid, grid=mask.grid)
  found = encode(params, tokens, padded)
  close(found.values[:, :v], latents.values)
  close(found.prefix, latents.prefix)
  close(predict(asked, found, padded), predictions)


def test_the_order_of_visible_tokens_does_not_matter():
  tokens, mask, params, latents, asked, predictions = world()
  other = core.Mask(mask.visible[:, ::-1], mask.masked, mask.weight, mask.positions, grid=mask.grid)
  found = encode(params, tokens, other)
  close(found.values[:, ::-1], latents.values)
  close(predict(asked, found, other), predictions)


def test_places_matter_and_the_two_layouts_differ():
  tokens, mask, params, latents, *_ = world()
  moved = core.Tokens(tokens.values, tokens.positions[:, ::-1], grid=GRID)
  assert np.abs(encode(params, moved, mask).values - latents.values).max() > 0.01
  coupled = encoder(depth=2, layout="coupled").apply(params, tokens, mask)
  assert np.abs(coupled.values - latents.values).max() > 0.01
  with pytest.raises(InputError, match=r"layout.*axial"):
    encoder(depth=1, layout="axal").init(jax.random.key(0), tokens)


def test_registers_stand_around_what_is_visible():
  """Their angles, and so what they become, change with the box of the visible tokens."""
  tokens, _, params, *_ = world()
  same = core.Tokens(jnp.zeros_like(tokens.values), tokens.positions, grid=GRID)
  outcomes = []
  for cells in ([0, 1, 4, 5], [0, 3, 12, 15]):
    seen = jnp.tile(jnp.asarray(cells, jnp.int32), (2, 1))
    outcomes.append(encode(params, same, core.make_mask(same, seen, seen)).prefix)
  assert np.abs(outcomes[0] - outcomes[1]).max() > 1e-3


def test_layers_and_scan_give_the_same_numbers():
  tokens, mask, params, latents, *_ = world()
  first, last = encoder(depth=2).apply(params, tokens, mask, layers=(1, -1))
  close(last, latents)
  blocks = params["params"]["stack"]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *(blocks[f"block_{i:02d}"] for i in range(2)))
  scanned = {"params": {**params["params"], "stack": {"blocks": stacked}}}
  for remat in ("none", "full"):
    looped = encoder(depth=2, scan=True, remat=remat)
    close(looped.apply(scanned, tokens, mask, layers=(1, 2)), [first, last])
  with pytest.raises(InputError, match=r"layer 3 does not exist"):
    encoder(depth=2).apply(params, tokens, mask, layers=(3,))


def test_drop_path_acts_in_every_block_and_only_with_a_key():
  tokens, mask, params, latents, *_ = world()
  net = encoder(depth=2, drop_path=0.5)
  close(net.apply(params, tokens, mask), latents)
  found = net.apply(params, tokens, mask, rngs={"dropout": jax.random.key(0)})
  assert np.abs(found.values - latents.values).max() > 0.01
