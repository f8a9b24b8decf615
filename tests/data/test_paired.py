"""Folders of images with depth and class maps."""

import numpy as np
import pytest
from PIL import Image

from mim_jax.data.image import sources
from mim_jax.data.pool import paired_folders
from mim_jax.errors import InputError

NAMES = ("train/cat/1", "train/dog/2", "test/cat/3")


def picture(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path):
  """Images of 6 x 4 pixels, 16-bit depth of that size, classes of twice that size."""
  rng = np.random.default_rng(0)
  for i, name in enumerate(NAMES):
    picture(tmp_path / "image" / f"{name}.png", rng.integers(0, 256, (6, 4, 3), np.uint8))
    depth = np.arange(24, dtype=np.uint16).reshape(6, 4) * 1000 + i
    picture(tmp_path / "depth" / f"{name}.png", depth)
    classes = np.repeat(np.repeat((np.arange(24) % 5).reshape(6, 4), 2, 0), 2, 1).astype(np.uint8)
    picture(tmp_path / "semantic" / f"{name}.png", classes)
  return tmp_path


def test_images_and_maps_come_together(root):
  source = paired_folders.paired(path=str(root), canvas=8, ids=5)
  assert isinstance(source, sources.Source)
  assert len(source) == 2
  assert source.classes == ("cat", "dog")
  batch = source[np.array([1, 0])]
  assert batch["image"].shape == (2, 8, 8, 3)
  assert batch["depth"].shape == batch["semantic"].shape == (2, 8, 8)
  np.testing.assert_array_equal(batch["size"], [[6, 4], [6, 4]])
  np.testing.assert_array_equal(batch["label"], [1, 0])
  # All 16 bits are kept, and classes are never blended.
  np.testing.assert_array_equal(batch["depth"][0, :6, :4], np.arange(24).reshape(6, 4) * 1000 + 1)
  np.testing.assert_array_equal(batch["semantic"][0, :6, :4], (np.arange(24) % 5).reshape(6, 4))
  assert not batch["depth"][:, 6:].any()
  assert source.names(np.array([0])) == ["train/cat/1.png"]


def test_maps_shrink_with_their_image(root):
  source = paired_folders.paired(path=str(root), canvas=3, ids=5)
  batch = source[np.array([0])]
  np.testing.assert_array_equal(batch["size"], [[3, 2]])
  whole = np.arange(24).reshape(6, 4) * 1000
  np.testing.assert_array_equal(batch["depth"][0, :3, :2], whole[1::2, 1::2])


def test_other_files_of_the_same_name_will_do(root):
  name = "train/cat/1"
  (root / "depth" / f"{name}.png").unlink()
  np.save(root / "depth" / f"{name}.npy", np.full((6, 4, 1), 300, np.uint16))
  (root / "semantic" / f"{name}.png").unlink()
  palette = Image.fromarray(np.full((6, 4), 3, np.uint8))
  palette.putpalette([255, 0, 0] * 8)
  palette.save(root / "semantic" / f"{name}.png")
  batch = paired_folders.paired(path=str(root), canvas=6, ids=5)[np.array([0])]
  assert (batch["depth"][0, :, :4] == 300).all()
  assert (batch["semantic"][0, :, :4] == 3).all()  # the index, not the colour


def test_the_fingerprint_knows_the_maps(root):
  before = paired_folders.paired(path=str(root), ids=5).fingerprint
  assert before == paired_folders.paired(path=str(root), ids=5).fingerprint
  np.save(root / "depth" / "train" / "cat" / "1.npy", np.zeros((6, 4), np.uint16))
  (root / "depth" / "train" / "cat" / "1.png").unlink()
  assert paired_folders.paired(path=str(root), ids=5).fingerprint != before


def test_a_missing_map_is_named(root):
  (root / "depth" / "train" / "dog" / "2.png").rename(root / "depth" / "train" / "dog" / "22.png")
  with pytest.raises(InputError, match=r"'train/dog/2.png' has no map in .*depth.*train/dog/22"):
    paired_folders.paired(path=str(root))
  with pytest.raises(InputError, match=r"there is no folder .*normals"):
    paired_folders.paired(path=str(root), maps=("normals",))


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (np.zeros((6, 4, 3), np.uint8), "mode RGB; a map has one number a pixel"),
    (np.zeros((6, 8), np.uint8), "6 x 8 pixels has not the shape of its image, 6 x 4"),
    (np.full((6, 4), 9, np.uint8), "holds the class 9, but there are 5"),
  ],
)
def test_maps_that_are_none_are_refused(root, values, message):
  picture(root / "semantic" / "train" / "cat" / "1.png", values)
  with pytest.raises(InputError, match=message):
    paired_folders.paired(path=str(root), ids=5)[np.array([0])]


@pytest.mark.parametrize("values", [np.zeros((6, 4)), np.full((6, 4), -1), np.full((6, 4), 70_000)])
def test_arrays_of_other_numbers_are_refused(root, values):
  (root / "depth" / "train" / "cat" / "1.png").unlink()
  np.save(root / "depth" / "train" / "cat" / "1.npy", values)
  with pytest.raises(InputError, match=r"1.npy holds .* whole numbers in 0..65535"):
    paired_folders.paired(path=str(root), ids=5)[np.array([0])]


def test_limits_hold_for_maps_too(root):
  huge = np.lib.format.open_memmap(
    root / "depth" / "train" / "cat" / "1.npy", "w+", np.uint16, (60, 40)
  )
  del huge
  (root / "depth" / "train" / "cat" / "1.png").unlink()
  with pytest.raises(InputError, match=r"1.npy has 40 x 60 = 2400 pixels"):
    paired_folders.paired(path=str(root), ids=5, limits=(1000, 10**6))[np.array([0])]
  (root / "depth" / "train" / "cat" / "1.npy").write_bytes(b"no array")
  with pytest.raises(InputError, match=r"1.npy cannot be read"):
    paired_folders.paired(path=str(root), ids=5)[np.array([0])]
