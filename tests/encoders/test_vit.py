"""What every ViT must keep, whatever its settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import core, encoders, layers, masks
from mim_jax.errors import InputError
from mim_jax.layers import basic, rebinding
from mim_jax.ops import positions


def tokens_of(seed=0, b=2, grid=(4, 4), d=24):
  n = grid[0] * grid[1]
  values = jax.random.normal(jax.random.key(seed), (b, n, d))
  return core.Tokens(values, jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2)), grid=grid)


STACK = {field.name for field in dataclasses.fields(layers.Stack)} - {"parent", "name"}


def vit(depth=3, heads=4, **settings):
  """A ViT of settings of its own and of its stack."""
  inner = {k: settings.pop(k) for k in STACK & settings.keys()}
  return encoders.ViT(stack=layers.Stack(depth, heads, **inner), **settings)


def run(model, tokens, mask=None, **call):
  params = model.init(jax.random.key(1), tokens, mask)
  return model.apply(params, tokens, mask, **call)


@pytest.mark.parametrize("masking", [layers.Drop(), layers.Replace()])
def test_masked_tokens_cannot_be_seen(masking):
  tokens = tokens_of()
  mask = masks.random(jax.random.key(2), tokens, ratio=0.5)
  noise = jax.random.normal(jax.random.key(3), tokens.values.shape)
  hidden_values = core.take(noise, mask.masked[:, 0])
  rows = jnp.arange(2)[:, None]
  other = core.Tokens(
    tokens.values.at[rows, mask.masked[:, 0]].set(hidden_values), tokens.positions, grid=tokens.grid
  )
  model = vit(masking=masking)
  params = model.init(jax.random.key(1), tokens, mask)
  first, second = (model.apply(params, t, mask) for t in (tokens, other))
  np.testing.assert_array_equal(first.values, second.values)
  np.testing.assert_array_equal(first.prefix, second.prefix)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_a_permutation_of_tokens_permutes_the_latents(seed):
  tokens = tokens_of()
  order = np.random.default_rng(seed).permutation(16)
  moved = core.Tokens(tokens.values[:, order], tokens.positions[:, order], grid=tokens.grid)
  first, second = run(vit(), tokens), run(vit(), moved)
  np.testing.assert_allclose(first.values[:, order], second.values, atol=2e-5)
  np.testing.assert_allclose(first.prefix, second.prefix, atol=2e-5)


def test_padding_is_as_if_it_were_not_there():
  tokens = tokens_of()
  whole = masks.random(jax.random.key(2), tokens, ratio=0.5)
  padded = core.make_mask(
    tokens,
    jnp.concatenate([whole.visible, whole.masked[:, 0, :3]], 1),
    whole.masked,
    valid=jnp.arange(11)[None] < jnp.full((2, 1), 8),
  )
  model = vit()
  params = model.init(jax.random.key(1), tokens, whole)
  first, second = model.apply(params, tokens, whole), model.apply(params, tokens, padded)
  np.testing.assert_allclose(first.values, second.values[:, :8], atol=2e-5)


def test_scan_and_remat_change_no_number():
  tokens = tokens_of()
  model = vit()
  params = model.init(jax.random.key(1), tokens)["params"]
  stacked = dict(
    params, stack={"blocks": jax.tree.map(lambda *x: jnp.stack(x), *params["stack"].values())}
  )

  def loss(model, params):
    return jnp.sum(jnp.square(model.apply({"params": params}, tokens).values))

  plain = jax.grad(lambda p: loss(model, p))(params)
  for form in (
    dict(scan=True),
    dict(scan=True, unroll=3, remat="full"),
    dict(scan=True, remat="dots"),
  ):
    scanned = jax.grad(lambda p, s=form: loss(vit(**s), p))(stacked)
    for i, name in enumerate(sorted(plain["stack"])):
      for a, b in zip(
        jax.tree.leaves(plain["stack"][name]),
        jax.tree.leaves(scanned["stack"]["blocks"]),
        strict=True,
      ):
        np.testing.assert_allclose(a, b[i], rtol=1e-4, atol=1e-3)
  remat = jax.grad(lambda p: loss(vit(remat="full"), p))(params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), plain, remat)


def test_scanned_layers_start_different_and_with_the_same_spread():
  tokens = tokens_of(d=48)
  kernel = vit(scan=True).init(jax.random.key(1), tokens)["params"]["stack"]["blocks"]["mlp"]["up"][
    "kernel"
  ]
  assert kernel.shape == (3, 48, 192)
  assert not np.allclose(kernel[0], kernel[1])
  np.testing.assert_allclose(np.std(kernel, (1, 2)), np.sqrt(2 / (48 + 192)), rtol=0.05)


def test_layers_are_the_outputs_on_the_way():
  tokens = tokens_of()
  for scan in (False, True):
    model = vit(scan=scan)
    params = model.init(jax.random.key(1), tokens)
    first, last = model.apply(params, tokens, layers=(1, -1))
    np.testing.assert_array_equal(last.values, model.apply(params, tokens).values)
    assert not np.allclose(first.values, last.values)
    with pytest.raises(InputError, match=r"layer 4 does not exist.*1\.\.3"):
      model.apply(params, tokens, layers=(4,))


@jax.numpy_dtype_promotion("standard")  # Flax's own norms mix bfloat16 and float32
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
  tokens = tokens_of()
  model = vit(dtype="bfloat16")
  half = core.Tokens(tokens.values.astype(jnp.bfloat16), tokens.positions, grid=tokens.grid)
  params = model.init(jax.random.key(1), half)
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {"float32"}
  found = model.apply(params, half).values
  assert found.dtype == jnp.bfloat16
  exact = vit().apply(params, tokens).values
  np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.1)
  text = jax.jit(model.apply).lower(params, half).as_text()
  dots = [line for line in text.splitlines() if "dot_general" in line]
  operands = [line.split(" : ")[1] for line in dots]
  assert operands
  assert all("bf16" in o.split("->")[0] and "f32" not in o.split("->")[0] for o in operands)


def test_settings_that_do_not_exist_are_refused():
  tokens = tokens_of()
  with pytest.raises(InputError, match="'attentions' is unknown; did you mean 'attention'"):
    run(vit(record=("attentions",)), tokens)
  with pytest.raises(InputError, match="'dot' is unknown; did you mean 'dots'"):
    run(vit(remat="dot"), tokens)
  with pytest.raises(InputError, match="width 24 is not a multiple of 5 heads"):
    run(vit(heads=5), tokens)


def test_initial_distributions_are_the_published_ones():
  """MAE's initialiser: Xavier over the fused qkv, zero biases, tokens normal(0.02)."""
  tokens = tokens_of(d=192)
  params = vit(heads=3).init(jax.random.key(1), tokens)["params"]
  block = params["stack"]["block_00"]
  for kernel, fans in (
    (block["attention"]["qkv"]["kernel"], 192 + 3 * 192),
    (block["attention"]["out"]["kernel"], 2 * 192),
    (block["mlp"]["up"]["kernel"], 5 * 192),
  ):
    bound = np.sqrt(6 / fans)
    assert np.abs(kernel).max() <= bound
    np.testing.assert_allclose(np.std(kernel), bound / np.sqrt(3), rtol=0.02)
  np.testing.assert_array_equal(block["attention"]["qkv"]["bias"], 0)
  np.testing.assert_allclose(np.std(params["class_token"]), 0.02, rtol=0.2)
  assert basic.norm("float32").epsilon == 1e-6


@pytest.mark.parametrize("scan", [False, True])
def test_attention_of_the_class_token_is_a_softmax_over_what_is_there(scan):
  tokens = tokens_of()
  mask = masks.random(jax.random.key(2), tokens, ratio=0.5)
  model = vit(scan=scan)
  params = model.init(jax.random.key(1), tokens, mask)
  latents = vit(scan=scan, record=("attention",)).apply(params, tokens, mask)
  weights = latents.extras["attention"]
  assert weights.shape == (2, 4, 1, 9)
  np.testing.assert_array_equal(latents.values, model.apply(params, tokens, mask).values)
  stack = params["params"]["stack"]
  last = jax.tree.map(lambda x: x[-1], stack["blocks"]) if scan else stack["block_02"]
  before = model.apply(params, tokens, mask, layers=(2,))[0]
  x = np.concatenate([before.prefix, before.values], 1)
  x = basic.norm("float32").apply({"params": last["norm1"]}, x)
  qkv = np.asarray(x @ last["attention"]["qkv"]["kernel"]).reshape(2, 9, 3, 4, 6)
  logits = np.einsum("bhe,bnhe->bhn", qkv[:, 0, 0], qkv[:, :, 1]) / np.sqrt(6)
  np.testing.assert_allclose(weights[:, :, 0], jax.nn.softmax(logits), atol=1e-5)


def test_what_is_not_normed_is_what_the_last_norm_gets():
  tokens = tokens_of()
  model = vit()
  params = model.init(jax.random.key(1), tokens)
  first, last = vit(record=("unnormed",)).apply(params, tokens, layers=(1, -1))
  raw = last.extras["unnormed"].values
  assert not first.extras
  normed = basic.norm("float32").apply({"params": params["params"]["norm"]}, raw)
  np.testing.assert_allclose(normed, model.apply(params, tokens).values, atol=1e-6)
  np.testing.assert_array_equal(vit(norm="none").apply(params, tokens).values, raw)


def test_a_bound_encoder_records_what_it_was_not_set_to():
  """Other settings, the same variables: as the parts of a teacher, and under jit."""
  tokens, model = tokens_of(), vit()
  params = model.init(jax.random.key(1), tokens)

  @jax.jit
  def look(params):
    bound = model.bind(params)
    return bound(tokens), rebinding.with_settings(bound, record=("attention",))(tokens)

  plain, recorded = look(params)
  np.testing.assert_array_equal(plain.values, recorded.values)
  assert not plain.extras and recorded.extras["attention"].shape == (2, 4, 1, 17)
  with pytest.raises(InputError, match="Swin has no setting 'record'"):
    rebinding.with_settings(encoders.Swin((1,), (1,)).bind({}), record=())


def test_which_latents_are_real_travels():
  tokens = tokens_of()
  whole = masks.random(jax.random.key(2), tokens, ratio=0.5)
  assert run(vit(), tokens, whole).valid is None
  real = jnp.arange(8)[None] < jnp.asarray([[8], [5]])
  some = dataclasses.replace(whole, valid=real)
  np.testing.assert_array_equal(run(vit(), tokens, some).valid, real)
  padded = dataclasses.replace(tokens, valid=jnp.arange(16)[None] < jnp.asarray([[16], [9]]))
  np.testing.assert_array_equal(run(vit(), padded).valid, padded.valid)
  np.testing.assert_array_equal(
    run(vit(masking=layers.Replace()), padded, some).valid, padded.valid
  )


def test_a_plain_last_norm_has_no_parameters():
  tokens = tokens_of()
  model = vit(norm="plain")
  params = model.init(jax.random.key(1), tokens)
  assert "norm" not in params["params"]
  np.testing.assert_allclose(model.apply(params, tokens).values.mean(-1), 0, atol=1e-5)
  with pytest.raises(InputError, match="'plane' is unknown; did you mean 'plain'"):
    run(vit(norm="plane"), tokens)
