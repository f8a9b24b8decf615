"""LocalMIM: which cells count, how losses are joined, decoders of several layers, the recipe."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, layers, losses, masks
from mim_jax.errors import InputError
from mim_jax.methods import localmim
from mim_jax.ops import positions

SHAPE = dict(width=16, stack=layers.Stack(depth=1, heads=2))


def tokens_of(grid, b=2):
  n = grid[0] * grid[1]
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2))
  return core.Tokens(jnp.zeros((b, n, 4)), where, grid=grid)


@pytest.mark.parametrize(("cells", "total"), [(3136, 2352), (784, 588), (196, 147), (49, 36.75)])
def test_a_cell_counts_as_much_as_is_hidden_of_it(cells, total):
  drawn = masks.random(jax.random.key(0), tokens_of((14, 14)), ratio=0.75)
  weight = localmim.hidden_share(drawn, cells)
  np.testing.assert_allclose(weight.sum(1), total, rtol=1e-6)
  levels = {0.0, 0.25, 0.5, 0.75, 1.0} if cells == 49 else {0.0, 1.0}
  assert set(np.unique(weight)) <= levels


def test_losses_are_added_and_only_hidden_cells_count():
  """One patch of four is seen; predictions are 0, so that losses are means of squared targets."""
  tokens = tokens_of((2, 2), b=1)
  drawn = core.make_mask(tokens, jnp.array([[1]]), jnp.array([[0, 2, 3]]))
  fine = jnp.arange(16.0).reshape(1, 16, 1)  # a 4 x 4 grid; the patch seen has 2, 3, 6, 7
  coarse = jnp.full((1, 1, 1), 2.0)
  asked = []

  def encoder(tokens, mask, layers):
    asked.append(layers)
    return "latents"

  parts = types.SimpleNamespace(
    tokenizer=lambda signal: tokens,
    encoder=encoder,
    predictor=lambda latents, mask: [0 * fine[:, None], 0 * coarse[:, None]],
  )
  found = localmim.predict_multiscale(
    parts,
    {"image": None},
    core.Step(None, 0, 0),
    None,
    entry="image",
    mask=lambda *args, progress: drawn,
    layers=(1, 2),
    targets={"scale_0": lambda *_: fine, "scale_1": lambda *_: coarse},
    loss=losses.squared_error,
  )
  counted = [i for i in range(16) if i not in (2, 3, 6, 7)]
  fine_loss, coarse_loss = (found.metrics[f"scale_{i}"] for i in range(2))
  np.testing.assert_allclose(fine_loss, np.mean(np.square(counted)), rtol=1e-6)
  np.testing.assert_allclose(coarse_loss, 4.0)
  np.testing.assert_allclose(found.loss, fine_loss + coarse_loss, rtol=1e-6)
  assert asked == [(1, 2)]


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
  model = localmim.Head(scale, 3)
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
  model = localmim.Upsample(5)
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


@pytest.mark.parametrize(
  ("size", "taps", "rate", "bins"),
  [("B", (2, 4, 10, 12), 1.6e-3, 9), ("L", (2, 4, 22, 24), 2.4e-3, 18)],
)
def test_the_published_recipe(size, taps, rate, bins):
  c = config_lib.get_config("localmim", f"size={size}")
  assert c.objective.layers == taps
  cells = [c.objective.targets[f"scale_{i}"].cell for i in range(4)]
  assert cells == [4, 8, 16, 32]
  shifts = np.array([c.objective.targets[f"scale_{i}"].bias for i in range(4)])
  assert (np.abs(shifts) < 1 / 3).all()
  assert (shifts == 0).all() == (size == "B")
  assert c.parts.predictor.target_widths == (3 * bins,) * 4
  np.testing.assert_allclose(c.optimizer.learning_rate.peak, rate)


def test_pixels_can_be_the_targets():
  c = config_lib.get_config("localmim", "size=B,target=pixels")
  assert c.parts.predictor.target_widths == (48, 192, 768, 3072)
