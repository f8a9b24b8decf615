"""Settings that published ViTs need beside MAE's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, layers
from mim_jax.errors import InputError
from mim_jax.layers.mlp import Mlp
from mim_jax.ops import positions, resize

STACK = {field.name for field in dataclasses.fields(layers.Stack)} - {"parent", "name"}


def vit(depth=1, heads=2, **settings):
  """A ViT of settings of its own and of its stack."""
  inner = {k: settings.pop(k) for k in STACK & settings.keys()}
  return encoders.ViT(stack=layers.Stack(depth, heads, **inner), **settings)


def tokens(d=8, grid=(3, 3)):
  where = jnp.broadcast_to(positions.grid_positions(grid), (2, grid[0] * grid[1], 2))
  values = jax.random.normal(jax.random.key(0), (2, where.shape[1], d))
  return core.Tokens(values, where, grid=grid)


def test_registers_stand_behind_the_class_token_and_have_no_position():
  model = vit(registers=3, positions=layers.Learned())
  found, variables = model.init_with_output(jax.random.key(0), tokens())
  assert found.prefix.shape == (2, 4, 8) and found.values.shape == (2, 9, 8)
  assert variables["params"]["register_token"].shape == (1, 3, 8)
  assert variables["params"]["class_positions"].shape == (1, 1, 8)
  model = vit(registers=3, positions=layers.Learned(), record=("attention",))
  weights = model.apply(variables, tokens()).extras["attention"]
  assert weights.shape == (2, 2, 1, 13)  # only the class token asks


def test_weights_in_numpy_stay_what_they_are():
  """As weights.load gives them: looking twice must see the same network."""
  model = vit(positions=layers.Learned(), masking=layers.Replace(init="zeros"))
  mask = core.make_mask(tokens(), *(jnp.asarray([x, x], jnp.int32) for x in ((0, 1), (2, 3))))
  variables = model.init(jax.random.key(0), tokens(), mask)
  assert not np.any(variables["params"]["mask_token"])
  loaded = jax.tree.map(np.array, variables)
  model.apply(loaded, tokens())
  jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_a_table_for_each_block_is_the_same_scanned_or_not():
  settings = dict(depth=2, masking=layers.Replace(), relative=layers.RelativeTable(each=True))
  settings["positions"] = layers.NoPositions()
  model = vit(**settings)
  params = model.init(jax.random.key(0), tokens())["params"]
  shape = params["relative_tables"].shape
  assert shape == (2, 25 + 3, 2)
  params["relative_tables"] = jax.random.normal(jax.random.key(1), shape)
  one = model.apply({"params": params}, tokens()).values
  blocks = [params["stack"][f"block_{i:02d}"] for i in range(2)]
  stack = {"blocks": jax.tree.map(lambda *x: jnp.stack(x), *blocks)}
  scanned = vit(**settings, scan=True)
  other = scanned.apply({"params": {**params, "stack": stack}}, tokens()).values
  np.testing.assert_allclose(one, other, atol=1e-5)
  swapped = {**params, "relative_tables": params["relative_tables"][::-1]}
  assert np.abs(model.apply({"params": swapped}, tokens()).values - one).max() > 1e-3


def test_words_that_do_not_exist_are_named():
  with pytest.raises(InputError, match="activation: 'gelus' is unknown; did you mean 'gelu'"):
    Mlp(activation="gelus").init(jax.random.key(0), jnp.ones((1, 8)))


@pytest.mark.parametrize("grid_offset", [0.0, 0.1])
def test_a_constant_stays_one_when_resized(grid_offset):
  image = jnp.full((1, 5, 7, 2), 3.0)
  for antialias in (False, True):
    found = resize.bicubic(image, (3, 11), antialias=antialias, grid_offset=grid_offset)
    np.testing.assert_allclose(found, 3.0, rtol=1e-5)


def test_antialiasing_is_that_of_pillow():
  import PIL.Image

  image = np.random.default_rng(0).normal(size=(12, 9)).astype(np.float32)
  for size in ((5, 4), (20, 30)):
    theirs = PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.BICUBIC)
    ours = resize.bicubic(jnp.asarray(image)[None, ..., None], size, antialias=True)[0, ..., 0]
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-4)
