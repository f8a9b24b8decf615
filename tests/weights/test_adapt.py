"""Imported networks on other grids, with other windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import layers
from mim_jax.errors import InputError
from mim_jax.evaluate import network
from mim_jax.weights import adapt
from mim_jax.weights import parts as parts_lib


def drawn(method, arg="dataset=digits,size=nano"):
  config = config_lib.get_config(method, arg)
  random = np.random.default_rng(0)
  shapes = parts_lib.shapes(config)
  made = {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}
  return parts_lib.unflat(made), config


def latents(variables, config):
  """Of a random image of the size that the config wants."""
  view = config.data.view
  image = jax.random.normal(jax.random.key(0), (1, *view.size, len(view.mean)))
  look = lambda parts: parts.encoder(parts.tokenizer(image)).values
  return parts_lib.parts_of(config).apply(jax.tree.map(jnp.asarray, variables), method=look)


@pytest.mark.parametrize("each", [False, True])
def test_tables_of_relative_positions_follow_the_grid(each):
  variables, config = drawn("beit")
  encoder = variables["params"]["encoder"]
  if each:
    config.parts.encoder.relative.each = True
    table = encoder.pop("relative_table")
    encoder["relative_tables"] = np.stack([table] * config.parts.encoder.stack.depth)
  grid = tuple(side // config.parts.tokenizer.patch for side in config.data.view.size)
  found, told = adapt.adapted(variables, config, grid=(grid[0] + 2, grid[1] + 1))
  assert latents(found, told).shape[1] == (grid[0] + 2) * (grid[1] + 1)
  same, _ = adapt.adapted(variables, config, grid=grid)
  jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_windows_of_a_swin_follow_their_size():
  variables, config = drawn("simmim", "dataset=digits,size=nano,encoder=swin")
  old = np.asarray(latents(variables, config))
  same, told = adapt.adapted(variables, config, window=config.parts.encoder.window)
  np.testing.assert_array_equal(latents(same, told), old)
  found, told = adapt.adapted(variables, config, window=3, grid=(8, 8))
  assert told.parts.encoder.window == 3
  tables = found["params"]["encoder"]["stage_0_block_00"]["relative_table"]
  assert tables.shape[0] == 25 and np.isfinite(latents(found, told)).all()


def test_features_of_another_size_where_positions_are_relative():
  variables, config = drawn("beit")
  side = config.data.view.size[0] + 2 * config.parts.tokenizer.patch
  told, found = network.resized(config, variables, side)
  assert told.data.view.size == (side, side)
  assert latents(found, told).shape[1] == (side // config.parts.tokenizer.patch) ** 2


def test_networks_that_cannot_be_changed():
  config = config_lib.get_config("spark", "dataset=digits,size=nano")
  with pytest.raises(InputError, match="where images are cut into patches only"):
    adapt.adapted({"params": {}}, config, channels=1)
  variables, config = drawn("mae")
  config.parts.encoder.positions = config_lib.part(layers.NoPositions)
  with pytest.raises(InputError, match="no positions of tokens to resize"):
    adapt.adapted(variables, config, grid=(2, 2))
  with pytest.raises(InputError, match="window: this encoder has none"):
    adapt.adapted(variables, config, window=3)
