"""What ResNet and ConvNeXt must keep as masked encoders, at every stage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, masks
from mim_jax.errors import InputError
from mim_jax.layers import masked_conv
from mim_jax.tokenizers import Cells
from tests import cost_by_hand as cost

SMALL = {
  "resnet": encoders.ResNet(depths=(1, 2, 1), width=4, patch=4, zero_scale=False),
  "resnet, stem of 2": encoders.ResNet(depths=(1, 1), width=4, patch=4, zero_scale=False),
  "resnet, stem of 4": encoders.ResNet(depths=(1,), width=4, patch=4, zero_scale=False),
  "convnext": encoders.ConvNeXt(depths=(1, 2, 1), widths=(4, 6, 8), patch=4, layer_scale=0.5),
  "convnext, stem of 4": encoders.ConvNeXt(depths=(2,), widths=(4,), patch=4, layer_scale=0.5),
}
MUTABLE = ["batch_stats"]


def drawn(image, patch=4, seed=0):
  tokens = Cells(patch=patch).apply({}, image)
  return tokens, masks.random(jax.random.key(seed), tokens, ratio=0.6, rounding="nearest")


def images(b=2, side=16, seed=1):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(b, side, side, 3)), jnp.float32)


@functools.cache
def started(name):
  """Variables far from where training starts: biases of 0 and scales of 1 would hide mistakes."""
  tokens, mask = drawn(images())
  shapes = jax.eval_shape(SMALL[name].init, jax.random.key(0), tokens, mask)
  rng = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(rng.uniform(0.1, 0.9, x.shape) - 0.4 * (len(x.shape) > 1), x.dtype)
  with jax.ensure_compile_time_eval():  # kept for all tests, whoever asks first
    return jax.tree.map(draw, shapes)


@functools.cache
def in_training(name, **settings):
  """Compiled: (latents of every stage, changed statistics) of variables, image and mask."""
  encoder = SMALL[name].clone(**settings)
  layers = tuple(range(1, 1 + len(encoder.depths)))

  def run(variables, image, mask, **rngs):
    tokens = Cells(patch=4).apply({}, image)
    return encoder.apply(variables, tokens, mask, layers=layers, rngs=rngs, mutable=MUTABLE)

  return jax.jit(run)


@pytest.mark.parametrize("name", SMALL)
def test_hidden_pixels_reach_no_visible_site_of_any_stage(name):
  image, noise = images(), 10.0 * images(seed=5)
  _, mask = drawn(image)
  seen = masked_conv.at_sites(masked_conv.visible(mask), image)
  look = lambda image: in_training(name)(started(name), image, mask)
  first, other = look(image), look(jnp.where(seen, image, noise))
  jax.tree.map(np.testing.assert_array_equal, first, other)  # maps, and statistics too
  changed = look(jnp.where(seen, noise, image))[0]
  for before, after in zip(first[0][-1].maps, changed[-1].maps, strict=True):
    shown = np.asarray(masked_conv.at_sites(masked_conv.visible(mask), before))[..., 0]
    assert (np.asarray(before)[~shown] == 0).all()
    assert (np.asarray(before)[shown] != np.asarray(after)[shown]).any(-1).all()


@pytest.mark.parametrize("name", SMALL)
def test_values_are_the_visible_sites_of_the_last_map_in_the_order_of_the_mask(name):
  tokens, mask = drawn(images())
  with jax.disable_jit():  # XLA may compute a map anew for each reader, and not to the same bits
    stages, _ = in_training(name)(started(name), images(), mask)
  b, h, w, c = stages[-1].maps[-1].shape
  assert (h, w) == tokens.grid
  flat = np.asarray(stages[-1].maps[-1]).reshape(b, h * w, c)
  expected = np.take_along_axis(flat, np.asarray(mask.visible)[..., None], 1)
  np.testing.assert_array_equal(stages[-1].values, expected)
  assert stages[-1].prefix.shape == (b, 0, c)
  assert [len(stage.maps) for stage in stages] == list(range(1, len(stages) + 1))
  assert [x.shape[1] for x in stages[-1].maps] == [4 << i for i in range(len(stages))][::-1]


@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_unmasked_is_all_visible_and_layers_count_stages(name):
  tokens, _ = drawn(images())
  everything = jnp.broadcast_to(jnp.arange(16), (2, 16))
  mask = core.make_mask(tokens, everything, everything[:, :1])

  @jax.jit
  def at_rest(mask):
    whole = SMALL[name].apply(started(name), tokens, layers=(1, -1))
    return whole, SMALL[name].apply(started(name), tokens, mask)

  (first, last), masked = at_rest(mask)
  near = dict(rtol=0, atol=1e-6 * np.abs(masked.values).max())
  np.testing.assert_allclose(last.values, masked.values, **near)
  assert (first.values.shape[1], last.values.shape[1]) == (256, 16)
  with pytest.raises(InputError, match="layer 4 does not exist"):
    jax.eval_shape(lambda: SMALL[name].apply(started(name), tokens, layers=(4,)))


def test_a_resnet_in_training_and_one_at_rest_differ_by_their_statistics():
  tokens, mask = drawn(images())
  trained, changed = in_training("resnet")(started("resnet"), images(), mask)
  resting = jax.jit(SMALL["resnet"].apply)(started("resnet"), tokens, mask)
  assert not np.allclose(trained[-1].values, resting.values, rtol=1e-2)
  before = started("resnet")["batch_stats"]
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, changed["batch_stats"])
  assert all(jax.tree.leaves(moved))


def test_without_running_averages_an_encoder_at_rest_asks_for_them():
  with pytest.raises(InputError, match="stem_norm: batch norm without running averages"):
    SMALL["resnet"].apply({"params": started("resnet")["params"]}, drawn(images())[0])


@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_drop_path_needs_its_key_and_grows_from_zero(name):
  _, mask = drawn(images())
  run = lambda key: in_training(name, drop_path=0.9)(started(name), images(), mask, **key)[0]
  with jax.disable_jit():  # compiled, these two programs round differently
    plain, dropped = run({}), run({"dropout": jax.random.key(0)})
    without = in_training(name)(started(name), images(), mask)[0]
  np.testing.assert_array_equal(plain[-1].values, without[-1].values)
  np.testing.assert_array_equal(dropped[0].values, plain[0].values)  # block 0 stays
  assert not np.allclose(dropped[-1].values, plain[-1].values, rtol=1e-2)


def test_blocks_of_a_resnet_begin_as_shortcuts():
  encoder = encoders.ResNet(depths=(1,), width=2, patch=1)
  tokens, mask = drawn(images(b=1, side=4), patch=1)
  params = jax.jit(encoder.init)(jax.random.key(0), tokens, mask)["params"]["stage_0_block_00"]
  assert [float(params[f"norm{i}"]["scale"].mean()) for i in range(4)] == [1, 1, 1, 0]


@pytest.mark.parametrize(
  ("encoder", "millions", "gflop"),
  [
    (encoders.ResNet(), 23.5, 8.17),
    (encoders.ConvNeXt(depths=(3, 3, 9, 3), widths=(96, 192, 384, 768)), 27.8, 8.91),
    (encoders.ConvNeXt(widths=(96, 192, 384, 768)), 49.5, 17.4),
    (encoders.ConvNeXt(), 87.6, 30.7),
    (encoders.ConvNeXt(widths=(192, 384, 768, 1536)), 196.0, 68.7),
  ],
)
def test_published_sizes(encoder, millions, gflop):
  tokens, _ = drawn(jnp.zeros((1, 224, 224, 3)), patch=32)
  variables = jax.eval_shape(encoder.init, jax.random.key(0), tokens)
  count = sum(x.size for x in jax.tree.leaves(variables["params"]))
  assert count / 1e6 == pytest.approx(millions, rel=0.005)
  latents, _ = jax.eval_shape(lambda v: encoder.apply(v, tokens, mutable=MUTABLE), variables)
  assert [x.shape[1] for x in latents.maps] == [56, 28, 14, 7]
  if isinstance(encoder, encoders.ResNet):
    found = cost.resnet(224, 3, encoder.depths, encoder.width, 4)
  else:
    found = cost.convnext(224, 3, encoder.depths, encoder.widths, 4)
  # The fact sheet counts the zeros around each map as work, up to 6 % at ResNet-50; XLA does not.
  assert 0.94 * gflop < found / 1e9 < gflop
