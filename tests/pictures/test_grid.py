"""Grids of pictures: their order, their size, what stands in the files."""

import functools
import types

import numpy as np
import pytest
from PIL import Image

from mim_jax import errors, modalities
from mim_jax.pictures import grid, values
from tests.pictures import scene


def panels(b, side=8, c=1):
  grey = np.linspace(0, 1, b * side * side * c).reshape(b, side, side, c)
  return {"original": grey, "masked": grey * 0, "reconstruction": grey + np.nan}


def test_small_images_are_enlarged_and_large_ones_are_not():
  assert grid.strips(panels(2))[0].shape == (160, 3 * 160 + 12, 4)
  assert grid.strips(panels(1, side=200, c=3))[0].shape == (200, 612, 4)
  assert len(grid.strips(panels(11, c=5))) == 8
  with pytest.raises(errors.InputError, match="no images"):
    grid.picture_grid(panels(0))


def test_panels_have_an_order():
  names = ["reconstruction", "visible only", "masked", "scores", "original", "features"]
  wanted = ["original", "masked", "features", "reconstruction", "scores", "visible only"]
  assert grid.ordered(dict.fromkeys(names)) == wanted


def test_saves_pictures_with_their_note_and_removes_old_ones(tmp_path):
  folder = tmp_path / "reconstructions"
  given = grid.Pictures(panels(3), values.note(False))
  said = grid.save(tmp_path, given, scene.on_scale)
  assert said["note"] == values.note(False)
  assert said["panels"] == ["original", "masked", "reconstruction"]
  assert sorted(p.name for p in folder.iterdir()) == ["00.png", "01.png", "02.png", "grid.png"]
  with Image.open(folder / "grid.png") as picture:
    assert picture.text["Comment"] == said["note"]
    assert picture.size == (3 * 160 + 2 * 6 + 2 * 6, 28 + 3 * 166)
  first_bytes = (folder / "grid.png").read_bytes()
  grid.save(tmp_path, grid.Pictures(panels(2)), scene.on_scale)
  assert sorted(p.name for p in folder.iterdir()) == ["00.png", "01.png", "grid.png"]
  grid.save(tmp_path, given, scene.on_scale)
  assert (folder / "grid.png").read_bytes() == first_bytes


def test_pictures_are_painted_before_they_are_saved(tmp_path):
  """On the scale of pixels, whatever the scale of the network's inputs was."""
  given = {name: np.zeros((1, 2, 2, 3)) for name in ("original", "masked")}
  view = types.SimpleNamespace(mean=(0.1, 0.2, 2.0), std=(1.0, 1.0, 1.0))
  shown = modalities.Image().paint(given, view)
  np.testing.assert_allclose(shown["masked"][0, 0, 0], [0.1, 0.2, 1.0], rtol=1e-6)
  paint = functools.partial(modalities.Image().paint, view=view)
  grid.save(tmp_path, grid.Pictures(given), paint, name="features")
  with Image.open(tmp_path / "features" / "00.png") as picture:
    assert picture.getpixel((0, 0)) == (26, 51, 255, 255)
