"""What a mask followed, as brightness."""

import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import errors, pictures
from mim_jax.pictures import heat
from tests.pictures import scene


def test_each_image_goes_from_its_least_to_its_most():
  image = scene.images()["image"]
  scores = jnp.arange(16.0)[None] * jnp.asarray([[1.0], [7.0], [-2.0]])
  shown = scene.cut(heat.heat(scores, image, scene.GRID))
  low, high = float(image.min()), float(image.max())
  rising = low + (high - low) * np.arange(16) / 15
  for found, wanted in zip(shown, (rising, rising, rising[::-1]), strict=True):
    np.testing.assert_allclose(found, wanted[:, None].repeat(4, 1), rtol=1e-4, atol=1e-5)


def test_equal_scores_are_dark_and_finite():
  shown = heat.heat(jnp.ones((3, 16)), scene.images()["image"], scene.GRID)
  np.testing.assert_allclose(shown, float(scene.images()["image"].min()))


def test_cells_are_enlarged_row_by_row():
  found = heat.enlarged(jnp.arange(6.0).reshape(1, 6, 1), (2, 3), jnp.zeros((1, 4, 9, 3)))
  assert found.shape == (1, 4, 9, 1)
  np.testing.assert_array_equal(found[0, ::2, ::3, 0], [[0, 1, 2], [3, 4, 5]])
  np.testing.assert_array_equal(found[0, :2, :3, 0], np.zeros((2, 3)))


def test_the_painter_shows_the_mask_and_what_it_followed():
  mask, given = scene.padded(), scene.images()
  scores = jnp.broadcast_to(jnp.arange(16.0), (3, 16))
  made = scene.outcome(mask, None, scores=scores)
  found = pictures.scores(given, made, entry="image")
  assert list(found.panels) == ["original", "masked", "scores"]
  np.testing.assert_array_equal(found.panels["original"], given["image"])
  assert ((scene.cut(found.panels["masked"]) == 0).all(-1) == (np.arange(16) > 1)).all()
  np.testing.assert_array_equal(
    found.panels["scores"], heat.heat(scores, given["image"], scene.GRID)
  )
  assert "Nothing is predicted" in found.note


def test_without_a_mask_nothing_can_be_shown():
  made = scene.outcome(scene.padded(), None)
  assert heat.drawn(made) is made.mask
  with pytest.raises(errors.InputError, match="this painter shows a mask"):
    pictures.scores(scene.images(), type(made)(jnp.float32(0)), entry="image")
