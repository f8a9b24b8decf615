"""Pictures of several modalities."""

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import config as config_lib
from mim_jax import core, pictures
from mim_jax import experiment as experiment_lib
from mim_jax.ops import patches
from mim_jax.pictures import grid, palette
from tests.pictures import scene

NAMES = ("image", "depth", "semantic")


def world(side=4, patch=2):
  """A batch of two, true predictions of it, and a mask that shows the first place of each."""
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
  weight = jnp.ones((2, 3, 4)).at[:, :, 0].set(0.0)
  places = jnp.tile(jnp.arange(12).reshape(3, 4), (2, 1, 1))
  shown = jnp.tile(jnp.asarray([0, 4, 8]), (2, 1))
  mask = core.make_mask(scene.tokens(2, (3, 2, 2)), shown, places, weight)
  predictions = {name: values[:, None] for name, values in truth.items()}
  return batch, core.Outcome(jnp.float32(0), {}, mask, predictions, predictions)


def test_what_is_predicted_lands_where_it_belongs():
  batch, outcome = world()
  found = pictures.modalities(batch, outcome, entries=NAMES).panels
  np.testing.assert_allclose(found["reconstruction"], batch["image"], rtol=1e-6)
  np.testing.assert_array_equal(found["masked"][:, :2, :2], batch["image"][:, :2, :2])
  assert not np.any(found["masked"][:, 2:])
  for name in ("depth", "semantic"):
    np.testing.assert_allclose(found[f"{name} predicted"], found[name], atol=1e-6)
    assert found[name].shape == batch["image"].shape
    low, high = float(batch["image"].min()), float(batch["image"].max())
    assert low - 1e-5 <= found[name].min() <= found[name].max() <= high + 1e-5


def test_visible_patches_are_pasted_and_the_others_are_as_predicted():
  batch, outcome = world()
  nothing = jax.tree.map(jnp.zeros_like, outcome.predictions)  # all of class 0
  made = core.Outcome(outcome.loss, {}, outcome.mask, nothing, outcome.targets)
  found = pictures.modalities(batch, made, entries=NAMES).panels
  np.testing.assert_array_equal(found["reconstruction"], found["masked"])
  np.testing.assert_array_equal(
    found["semantic predicted"][:, :2, :2], found["semantic"][:, :2, :2]
  )
  elsewhere = np.asarray(found["semantic predicted"])[:, 2:].reshape(-1, 3)
  assert len(np.unique(elsewhere.round(5), axis=0)) == 1  # the colour of class 0
  zero = np.asarray(palette.hues(jnp.zeros((1, 1), jnp.int32)))[0, 0]
  assert (np.argsort(elsewhere[0]) == np.argsort(zero)).all()


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
