"""The settings of the ViT that BEiT and SimMIM use."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, layers, masks
from mim_jax.errors import InputError
from mim_jax.layers import init
from mim_jax.layers.self_attention import Attention
from mim_jax.ops import positions


def tokens_of(seed=0, b=2, grid=(4, 4), d=24):
  n = grid[0] * grid[1]
  values = jax.random.normal(jax.random.key(seed), (b, n, d))
  return core.Tokens(values, jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2)), grid=grid)


STACK = {field.name for field in dataclasses.fields(layers.Stack)} - {"parent", "name"}


def vit(depth=2, heads=4, **settings):
  """A ViT of settings of its own and of its stack."""
  beit = dict(positions=layers.NoPositions(), relative=layers.RelativeTable(), key_bias=False)
  settings = beit | dict(masking=layers.Replace(), kernel_init="trunc_normal") | settings
  inner = {k: settings.pop(k) for k in STACK & settings.keys()}
  return encoders.ViT(stack=layers.Stack(depth, heads, **inner), **settings)


def drawn(model, tokens=None, mask=None):
  return jax.jit(model.init)(jax.random.key(1), tokens or tokens_of(), mask)


def with_table(params, scale=3.0):
  """The same parameters with a table that is not empty."""
  table = params["params"]["relative_table"]
  random = scale * jax.random.normal(jax.random.key(7), table.shape)
  return {"params": dict(params["params"], relative_table=random)}


def test_without_positions_a_permutation_permutes_and_the_table_ends_that():
  tokens = tokens_of()
  order = np.random.default_rng(0).permutation(16)
  moved = core.Tokens(tokens.values[:, order], tokens.positions, grid=tokens.grid)
  model, params = vit(kernel_init="xavier"), drawn(vit(kernel_init="xavier"))
  run = jax.jit(model.apply)
  assert params["params"]["relative_table"].shape == (7 * 7 + 3, 4)
  np.testing.assert_array_equal(params["params"]["relative_table"], 0)
  first, second = run(params, tokens).values, run(params, moved).values
  np.testing.assert_allclose(first[:, order], second, atol=2e-5)
  first, second = (run(with_table(params), t).values for t in (tokens, moved))
  assert not np.allclose(first[:, order], second, atol=1e-2)


def test_the_table_is_added_to_the_logits_of_every_block():
  """Against attention written down: softmax(q k / sqrt(e) + bias), bias read off the table."""
  attend = Attention(2, key_bias=False)
  x, bias = jax.random.normal(jax.random.key(0), (1, 5, 8)), jnp.arange(50.0).reshape(2, 5, 5) / 9
  params = attend.init(jax.random.key(1), x, None, bias)["params"]
  params = jax.tree.map(lambda p: p + 0.1 if p.ndim == 1 else p, params)
  assert set(params) == {"qkv", "query_bias", "value_bias", "out"}
  assert set(params["qkv"]) == {"kernel"}
  q, k, v = np.split(np.asarray(x[0] @ params["qkv"]["kernel"]), 3, axis=1)
  q, v = q + params["query_bias"][None], v + params["value_bias"][None]
  q, k, v = (y.reshape(5, 2, 4).transpose(1, 0, 2) for y in (q, k, v))
  weights = jax.nn.softmax(q @ k.transpose(0, 2, 1) / 2 + np.asarray(bias))
  mixed = np.asarray(weights @ v).transpose(1, 0, 2).reshape(5, 8)
  expected = mixed @ params["out"]["kernel"] + params["out"]["bias"][None]
  np.testing.assert_allclose(
    attend.apply({"params": params}, x, None, bias)[0], expected, atol=1e-5
  )


def test_the_bias_also_reaches_the_weights_that_are_returned():
  model, params = vit(), with_table(drawn(vit()))
  weights, plain = (
    vit(record=("attention",)).apply(p, tokens_of()).extras["attention"]
    for p in (params, drawn(model))
  )
  np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
  assert not np.allclose(weights, plain, atol=1e-2)


def test_scan_changes_no_number():
  tokens, params = tokens_of(), with_table(drawn(vit()))["params"]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *params["stack"].values())
  scanned = {"params": dict(params, stack={"blocks": stacked})}
  first = jax.jit(vit().apply)({"params": params}, tokens).values
  second = jax.jit(vit(scan=True).apply)(scanned, tokens).values
  np.testing.assert_allclose(first, second, atol=2e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_kernels_start_as_published_and_shrink_with_depth(scan):
  """Normal(0.02) cut at one deviation, deviation 0.0108; ends of residual branches / sqrt(2 i)."""
  params = drawn(vit(scan=scan), tokens_of(d=64))["params"]["stack"]
  for i in range(2):
    block = jax.tree.map(lambda x: x[i], params["blocks"]) if scan else params[f"block_{i:02d}"]  # noqa: B023
    for kernel in (block["attention"]["qkv"]["kernel"], block["mlp"]["up"]["kernel"]):
      assert np.abs(kernel).max() <= 0.02
      np.testing.assert_allclose(np.std(kernel), 0.0108, rtol=0.05)
    for kernel in (block["attention"]["out"]["kernel"], block["mlp"]["down"]["kernel"]):
      np.testing.assert_allclose(np.std(kernel), 0.0108 / np.sqrt(2 * (i + 1)), rtol=0.08)


def test_learned_positions_tell_places_apart_and_are_given_to_class_tokens():
  model = vit(
    positions=layers.Learned(), relative=None, masking=layers.Drop(), kernel_init="normal"
  )
  tokens = tokens_of()
  mask = masks.random(jax.random.key(0), tokens, ratio=0.5)
  params = drawn(model, tokens, mask)
  assert params["params"]["positions_table"].shape == (1, 16, 24)
  assert params["params"]["class_positions"].shape == (1, 1, 24)
  same = core.Tokens(jnp.ones((2, 16, 24)), tokens.positions, grid=(4, 4))
  found = model.apply(params, same, mask).values
  assert found.shape == (2, 8, 24)
  assert not np.allclose(found[0, 0], found[0, 1], atol=1e-4)


@jax.numpy_dtype_promotion("standard")  # Flax's own norms mix bfloat16 and float32
def test_bfloat16_keeps_to_the_exact_result():
  tokens, params = tokens_of(), with_table(drawn(vit()), 1.0)
  half = core.Tokens(tokens.values.astype(jnp.bfloat16), tokens.positions, grid=tokens.grid)
  found = jax.jit(vit(dtype="bfloat16").apply)(params, half).values
  assert found.dtype == jnp.bfloat16
  exact = jax.jit(vit().apply)(params, tokens).values
  np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.1)


def test_what_cannot_be_is_refused():
  with pytest.raises(InputError, match=r"needs all tokens of a 2-D grid; masking=Drop"):
    drawn(vit(masking=layers.Drop()))
  with pytest.raises(InputError, match="'trunk_normal' is unknown; did you mean 'trunc_normal'"):
    init.kernel("trunk_normal")
