"""SparK's decoder against its parts by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks, predictors
from mim_jax.errors import InputError
from mim_jax.layers import masked_conv
from mim_jax.ops import positions
from mim_jax.predictors import unet

MUTABLE = ["batch_stats"]


def given(channels=(12, 16), grid=4, b=2, patch=2, seed=0):
  """A Pyramid (finest map first) and a mask; maps hold noise at hidden sites too."""
  where = jnp.broadcast_to(positions.grid_positions((grid, grid)), (b, grid**2, 2))
  tokens = core.Tokens(where, where, grid=(grid, grid))
  mask = masks.random(jax.random.key(seed), tokens, ratio=0.6, rounding="nearest")
  sides = [grid << i for i in range(len(channels))][::-1]
  shapes = [(b, s, s, c) for s, c in zip(sides, channels, strict=True)]
  maps = tuple(drawn([jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes], seed))
  return core.Pyramid(where, where[:, :0], maps=maps), mask


def drawn(shapes, seed=0):
  """Numbers for a tree of shapes, without compiling the initialisers."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


def normal(*shape):
  return drawn(jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_predictions_are_pixels_of_masked_cells_and_hidden_sites_say_nothing(norm):
  latents, mask = given()
  model = predictors.UNet(width=8, patch=2, channels=3, norm=norm)
  variables = drawn(jax.eval_shape(model.init, jax.random.key(0), latents, mask))
  run = jax.jit(lambda latents: model.apply(variables, latents, mask, mutable=MUTABLE))
  out, changed = run(latents)
  assert out.shape == (2, 1, 10, 12)
  seen = masked_conv.visible(mask)
  shown = tuple(masked_conv.hide(m, seen) for m in latents.maps)
  other = run(core.Pyramid(latents.values, latents.prefix, maps=shown))
  jax.tree.map(np.testing.assert_array_equal, (out, changed), other)


def test_the_mask_vector_comes_after_the_norm_and_before_the_projection():
  latents, mask = given(channels=(16,), patch=1, b=1)
  model = predictors.UNet(width=16, patch=1, channels=16, norm="layer")  # patch 1: densify, head
  params = model.init(jax.random.key(0), latents, mask)["params"]
  assert set(params) == {"densify_0_norm", "densify_0_token", "head"}  # equal widths: no projection
  params["head"]["kernel"] = jnp.eye(16)[None, None]
  out = model.apply({"params": params}, latents, mask)
  token = params["densify_0_token"].reshape(-1)
  np.testing.assert_array_equal(out, np.broadcast_to(token, out.shape))
  assert 0 < np.abs(token).max() <= 0.02  # cut at one deviation
  assert np.abs(token).mean() > 0.002


def test_maps_are_added_and_each_block_doubles_and_halves():
  latents, mask = given(channels=(10, 12, 14), patch=8, grid=2)
  model = predictors.UNet(width=16, patch=8, channels=3, norm="batch")
  shapes = jax.eval_shape(model.init, jax.random.key(0), latents, mask)
  out, _ = jax.eval_shape(lambda v: model.apply(v, latents, mask, mutable=MUTABLE), shapes)
  assert out.shape == (2, 1, 2, 8 * 8 * 3)
  shape = lambda part, layer: shapes["params"][part][layer]["kernel"].shape
  sizes = {f"densify_{i}": shapes["params"][f"densify_{i}"]["kernel"].shape for i in range(3)}
  assert list(sizes.values()) == [(1, 1, 14, 16), (3, 3, 12, 8), (3, 3, 10, 4)]
  sizes = [shape(f"block_{i}", "conv2") for i in range(3)]
  assert sizes == [(3, 3, 16, 8), (3, 3, 8, 4), (3, 3, 4, 2)]
  assert shapes["params"]["head"]["kernel"].shape == (1, 1, 2, 3)
  assert not any("bias" in shapes["params"]["block_0"][f"conv{i}"] for i in (1, 2))


def layers_of(block, params, x):
  """(output, {layer: its output}) of a block in training."""
  run = lambda x: block.apply(
    {"params": params, "batch_stats": stats_of(block, x)},
    x,
    mutable=[*MUTABLE, "intermediates"],
    capture_intermediates=True,
  )
  y, state = jax.jit(run)(x)
  seen = state["intermediates"]
  return y, {k: np.asarray(v["__call__"][0]) for k, v in seen.items() if k != "__call__"}


def stats_of(block, x):
  shapes = jax.eval_shape(block.init, jax.random.key(0), x)["batch_stats"]
  return jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)


def test_a_block_is_relu6_inside_and_bare_at_its_end():
  block, x = unet.Double(4), normal(2, 4, 4, 8)
  params = drawn(jax.eval_shape(block.init, jax.random.key(1), x)["params"])
  params["norm1"]["scale"] = jnp.full(8, 100.0)  # far beyond 6
  params["norm2"] = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
  y, seen = layers_of(block, params, x)
  assert seen["norm1"].max() > 6
  clipped = np.clip(seen["norm1"], 0.0, 6.0)[0, 1:4, 1:4]
  expected = np.einsum("hwc,hwcd->d", clipped, np.asarray(params["conv2"]["kernel"]))
  np.testing.assert_allclose(seen["conv2"][0, 2, 2], expected, rtol=1e-4, atol=1e-4)
  assert y.shape == (2, 8, 8, 4)
  np.testing.assert_allclose(y.mean((0, 1, 2)), 0.0, atol=1e-4)
  np.testing.assert_allclose(y.var((0, 1, 2)), 1.0, rtol=1e-3)


def test_the_transposed_convolution_is_pytorchs():
  """Every input site adds its 4 x 4 stamp at twice its place less one."""
  block, x = unet.Double(1), normal(1, 3, 3, 2)
  params = drawn(jax.eval_shape(block.init, jax.random.key(1), x)["params"])
  kernel = np.asarray(params["up"]["kernel"])[::-1, ::-1]  # stored turned by 180 degrees
  stamped = np.zeros((8, 8, 2))
  for i, j in np.ndindex(3, 3):
    stamped[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("c,hwcd->hwd", x[0, i, j], kernel)
  expected = stamped[1:-1, 1:-1] + np.asarray(params["up"]["bias"])
  np.testing.assert_allclose(
    layers_of(block, params, x)[1]["up"][0], expected, rtol=1e-4, atol=1e-5
  )


def test_initialisers():
  latents, mask = given(channels=(96, 96), patch=2, grid=2)
  model = predictors.UNet(width=64, patch=2, channels=3)
  params = jax.jit(model.init)(jax.random.key(0), latents, mask)["params"]
  spread = lambda *path: float(jnp.std(functools.reduce(lambda t, k: t[k], path, params)))
  assert spread("block_0", "up", "kernel") == pytest.approx((2 / (64 * 16)) ** 0.5, rel=0.03)
  assert spread("block_0", "conv1", "kernel") == pytest.approx(0.02, rel=0.03)
  for i, kernel in enumerate((1, 3)):
    bound = (96 * kernel**2) ** -0.5
    for leaf in params[f"densify_{i}"].values():
      assert 0.85 * bound < np.abs(leaf).max() <= bound


@pytest.mark.parametrize(
  ("channels", "norm", "densify"),
  [
    ((256, 512, 1024, 2048), "batch", 6.2),
    ((96, 192, 384, 768), "layer", 1.75),
    ((128, 256, 512, 1024), "layer", 3.1),
    ((192, 384, 768, 1536), "layer", 4.7),
  ],
)
def test_published_sizes(channels, norm, densify):
  model = predictors.UNet(width=768, patch=32, channels=3, norm=norm)

  def make():
    return model.init(jax.random.key(0), *given(channels=channels, grid=7, b=1))["params"]

  params = jax.eval_shape(make)
  count = lambda word: sum(
    x.size for k, v in params.items() if (word in k) for x in jax.tree.leaves(v)
  )
  assert count("densify") / 1e6 == pytest.approx(densify, rel=0.02)
  assert (count("block") + count("head")) / 1e6 == pytest.approx(23.2, rel=0.005)


def test_latents_without_maps_and_unknown_norms_are_refused():
  (latents, mask), key = given(), jax.random.key(0)
  plain = core.Latents(latents.values, latents.prefix)
  with pytest.raises(InputError, match="returned no maps.*ResNet, ConvNeXt"):
    jax.eval_shape(predictors.UNet(width=16, patch=2, channels=3).init, key, plain, mask)
  with pytest.raises(InputError, match=r"predictor.norm.*'lay'.*layer"):
    unknown = predictors.UNet(width=16, patch=2, channels=3, norm="lay")
    jax.eval_shape(unknown.init, key, latents, mask)
