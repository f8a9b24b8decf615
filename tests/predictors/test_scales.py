"""Small decoders of several layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, layers, masks
from mim_jax.errors import InputError
from mim_jax.methods import localmim
from mim_jax.methods import localmim as scales
from mim_jax.ops import positions

SHAPE = dict(width=16, stack=layers.Stack(depth=1, heads=2))


def setting(taps, b=2, grid=(4, 4), d=12):
  n = grid[0] * grid[1]
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2))
  tokens = core.Tokens(jax.random.normal(jax.random.key(0), (b, n, d)), where, grid=grid)
  mask = masks.random(jax.random.key(1), tokens, ratio=0.75)
  values = core.take(tokens.values, mask.visible)
  return tokens, mask, [core.Latents(values * (i + 1), tokens.values[:, :1]) for i in range(taps)]


def drawn(model, taps, mask):
  """Variables for a model, without the time that its own draw takes to compile."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), taps, mask)
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), shapes)


def test_every_layer_has_its_own_decoder_and_number_of_cells():
  _, mask, taps = setting(4)
  model = localmim.MultiScale(**SHAPE, scales=(4.0, 2.0, 1.0, 0.5), target_widths=(3, 4, 5, 6))
  params = jax.eval_shape(model.init, jax.random.key(2), taps, mask)
  found = jax.eval_shape(model.apply, params, taps, mask)
  assert [x.shape for x in found] == [(2, 1, 256, 3), (2, 1, 64, 4), (2, 1, 16, 5), (2, 1, 4, 6)]
  names = params["params"].keys()
  assert {f"{part}_{i}" for part in ("decoder", "head") for i in range(4)} <= names
  assert {name for name in names if name.startswith("norm")} == {"norm_0", "norm_1", "norm_2"}


@pytest.mark.parametrize("scale", [4, 2, 1, 0.5])
def test_heads_keep_places(scale):
  """What is changed in one patch changes its own cells and no others."""
  model = scales.Head(scale, 3)
  x = jax.random.normal(jax.random.key(0), (1, 16, 8))
  params = model.init(jax.random.key(1), x, (4, 4))
  changed = model.apply(params, x.at[0, 6].add(1.0), (4, 4)) != model.apply(params, x, (4, 4))
  side = int(4 * scale)
  changed = np.asarray(changed).any(-1).reshape(side, side)
  rows, columns = np.indices((side, side)) // scale  # in patches
  inside = (rows <= 1) & (rows + 1 / scale > 1) & (columns <= 2) & (columns + 1 / scale > 2)
  inside = inside if scale == 0.5 else (rows == 1) & (columns == 2)
  np.testing.assert_array_equal(changed, inside)


def test_upsampling_is_a_transposed_convolution():
  model = scales.Upsample(5)
  x = jax.random.normal(jax.random.key(0), (2, 6, 8))
  params = model.init(jax.random.key(1), x, (2, 3))["params"]
  bound = 1 / np.sqrt(4 * 5)
  assert 0.8 * bound < np.abs(params["parts"]["kernel"]).max() <= bound
  assert params["bias"].shape == (5,)
  kernel = params["parts"]["kernel"].reshape(8, 2, 2, 5).transpose(1, 2, 0, 3)
  expected = jax.lax.conv_transpose(
    x.reshape(2, 2, 3, 8), kernel[::-1, ::-1], (2, 2), "VALID", transpose_kernel=False
  )
  shifted = expected + params["bias"].reshape(1, 1, 1, -1)
  found = model.apply({"params": params}, x, (2, 3)).reshape(2, 4, 6, 5)
  # jax.lax flips nothing: an output's sub-pixel (i, j) uses the kernel's tap (1 - i, 1 - j).
  np.testing.assert_allclose(found, shifted, atol=1e-5)


def test_the_order_of_visible_tokens_does_not_matter():
  tokens, mask, taps = setting(1)
  model = localmim.MultiScale(**SHAPE, scales=(1.0,), target_widths=(3,))
  params = drawn(model, taps, mask)
  moved = core.make_mask(tokens, mask.visible[:, ::-1], mask.masked)
  reverse = [core.Latents(taps[0].values[:, ::-1], taps[0].prefix)]
  first, second = model.apply(params, taps, mask), model.apply(params, reverse, moved)
  np.testing.assert_allclose(first[0], second[0], atol=1e-5)


def test_padding_is_as_if_it_were_not_there():
  tokens, mask, taps = setting(1)
  extra = jnp.zeros((2, 3), jnp.int32)
  valid = jnp.arange(7)[None] < jnp.full((2, 1), 4)
  padded = core.make_mask(
    tokens, jnp.concatenate([mask.visible, extra], 1), mask.masked, valid=valid
  )
  noise = jax.random.normal(jax.random.key(4), (2, 3, 12))
  longer = [core.Latents(jnp.concatenate([taps[0].values, noise], 1), taps[0].prefix)]
  model = localmim.MultiScale(**SHAPE, scales=(1.0,), target_widths=(3,))
  params = drawn(model, taps, mask)
  first, second = model.apply(params, taps, mask), model.apply(params, longer, padded)
  np.testing.assert_allclose(first[0], second[0], atol=1e-6)


def test_settings_that_do_not_fit_are_refused():
  _, mask, taps = setting(2)
  model = localmim.MultiScale(**SHAPE, scales=(1.0,), target_widths=(3,))
  with pytest.raises(InputError, match="2 layers, 1 scales, 1 target_widths"):
    model.init(jax.random.key(2), taps, mask)
  model = localmim.MultiScale(**SHAPE, scales=(3.0,), target_widths=(3,))
  with pytest.raises(InputError, match="predictor.scales: 3.0 is not one of"):
    model.init(jax.random.key(2), taps[:1], mask)
