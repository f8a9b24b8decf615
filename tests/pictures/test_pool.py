"""Pictures of several signals."""

import types

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax import experiment as experiment_lib
from mim_jax.ops import patches, positions
from mim_jax.pictures import grid, maps

NAMES = ("image", "depth", "semantic")


def world(side=4, patch=2):
  """Parts that predict the truth of a batch of two, and a mask that shows the first place of each."""
  rng = np.random.default_rng(0)
  batch = dict(
    image=jnp.asarray(rng.normal(size=(2, side, side, 3)), jnp.float32),
    depth=jnp.asarray(rng.normal(size=(2, side, side, 1)), jnp.float32),
    semantic=jnp.asarray(rng.integers(0, 5, (2, side, side)), jnp.int32),
  )
  truth = dict(
    image=patches.patchify(batch["image"], patch),
    depth=patches.patchify(batch["depth"], patch),
    semantic=jax.nn.one_hot(patches.patchify(batch["semantic"][..., None], patch), 5).reshape(
      2, 4, 20
    ),
  )
  where = jnp.tile(positions.grid_positions((2, 2)), (2, 1, 1))
  one = core.Tokens(jnp.zeros((2, 4, 1)), where, grid=(2, 2))

  def mask(key, tokens, progress):
    weight = jnp.ones((2, 3, 4)).at[:, :, 0].set(0.0)
    places = jnp.tile(jnp.arange(12).reshape(3, 4), (2, 1, 1))
    return core.make_mask(tokens, jnp.tile(jnp.asarray([0, 4, 8]), (2, 1)), places, weight)

  parts = types.SimpleNamespace(
    tokenizers={name: lambda _: one for name in NAMES},
    encoder=lambda tokens, mask: None,
    predictors={name: lambda *_, name=name: truth[name][:, None] for name in NAMES},
  )
  return parts, batch, mask


def test_what_is_predicted_lands_where_it_belongs():
  parts, batch, mask = world()
  step = core.Step(jax.random.key(0), jnp.zeros([], jnp.int32), jnp.zeros([]))
  found = maps.pictures(parts, batch, step, signals=NAMES, mask=mask).panels
  np.testing.assert_allclose(found["reconstruction"], batch["image"], rtol=1e-6)
  np.testing.assert_array_equal(found["masked"][:, :2, :2], batch["image"][:, :2, :2])
  assert not np.any(found["masked"][:, 2:])
  for name in ("depth", "semantic"):
    np.testing.assert_allclose(found[f"{name} predicted"], found[name], atol=1e-6)
    assert found[name].shape == batch["image"].shape
    low, high = float(batch["image"].min()), float(batch["image"].max())
    assert low - 1e-5 <= found[name].min() <= found[name].max() <= high + 1e-5


def test_the_panels_of_a_run():
  config = config_lib.get_config("multimae", "dataset=digits,size=nano")
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batch = experiment.spec.data.test[np.arange(2)]
  found = jax.eval_shape(experiment.viewer.pictures, experiment.trainable.abstract_state(), batch)
  assert grid.ordered(found.panels) == [
    "original",
    "masked",
    "depth",
    "depth predicted",
    "reconstruction",
    "semantic",
    "semantic predicted",
  ]
  assert all(panel.shape[:3] == (2, 8, 8) for panel in found.panels.values())
  assert "one set of visible patches" in found.note
