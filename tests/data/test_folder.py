import io
import os
import pickle
import zlib

import numpy as np
import pytest
from PIL import Image

from mim_jax import errors
from mim_jax.data.image import sources


def save(path, image=None, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.zeros((6, 4, 3), np.uint8) if image is None else image
  (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def smooth(height, width, channels=3, seed=0):
  noise = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
  planes = [Image.fromarray(noise[..., i]) for i in range(channels)]
  return np.stack([np.asarray(p.resize((width, height), Image.BICUBIC)) for p in planes], -1)


def read(path, channels=3, canvas=64):
  batch = sources.folder(path=str(path), split="all", canvas=canvas, channels=channels)[
    np.arange(1)
  ]
  height, width = batch["size"][0]
  return batch["image"][0, :height, :width]


# --- Which files, splits and labels ---------------------------------------------------------------


def test_sub_folders_are_classes(tmp_path):
  for name in ("dog/1.png", "cat/deep/2.PNG", "cat/3.jpeg", "plain.webp", "cat/.hidden.png"):
    save(tmp_path / name)
  (tmp_path / "cat" / "notes.txt").write_text("")
  source = sources.folder(path=str(tmp_path), split="all", canvas=8)
  assert source.classes == ("cat", "dog")
  assert source.files == ("cat/3.jpeg", "cat/deep/2.PNG", "dog/1.png", "plain.webp")
  batch = source[np.arange(4)]
  np.testing.assert_array_equal(batch["label"], np.array([0, 0, 1, -1], np.int32))
  assert batch["image"].shape == (4, 8, 8, 3)
  assert source.names(np.array([2])) == ["dog/1.png"]


@pytest.mark.parametrize("test_name", ["test", "val", "validation"])
def test_named_sub_folders_are_the_splits(tmp_path, test_name):
  for name in ("train/a/1.png", "train/b/2.png", f"{test_name}/b/3.png", "elsewhere/c/4.png"):
    save(tmp_path / name)
  train, test = (sources.folder(path=str(tmp_path), split=s) for s in ("train", "test"))
  assert train.files == ("train/a/1.png", "train/b/2.png")
  assert test.files == (f"{test_name}/b/3.png",)
  assert train.classes == test.classes == ("a", "b")
  np.testing.assert_array_equal(test.label, np.array([1], np.int32))
  assert len(sources.folder(path=str(tmp_path), split="all")) == 3
  with pytest.raises(errors.InputError, match="'train'"):
    sources.folder(path=str(tmp_path), split="trian")


def test_without_named_splits_a_hash_holds_out(tmp_path):
  for i in range(100):
    (tmp_path / f"{i}.png").write_bytes(b"")
  sets = {s: set(sources.folder(path=str(tmp_path), split=s).files) for s in ("train", "test")}
  assert not sets["train"] & sets["test"]
  assert len(sets["train"] | sets["test"]) == 100
  assert 4 <= len(sets["test"]) <= 16
  (tmp_path / "new.png").write_bytes(b"")
  after = set(sources.folder(path=str(tmp_path), split="test").files)
  assert after - {"new.png"} == sets["test"]
  assert sources.folder(path=str(tmp_path)).classes == ()


def test_a_folder_of_two_has_one_to_test_on(tmp_path):
  save(tmp_path / "1.png")
  save(tmp_path / "2.png")
  assert [len(sources.folder(path=str(tmp_path), split=s)) for s in ("train", "test")] == [1, 1]
  with pytest.raises(errors.InputError, match="holds no image"):
    sources.folder(path=str(tmp_path), split="test", holdout=0.0)
  with pytest.raises(errors.InputError, match=r"data\.holdout"):
    sources.folder(path=str(tmp_path), holdout=1.0)


def test_links_are_followed_but_not_in_circles(tmp_path):
  save(tmp_path / "store" / "1.png")
  root = tmp_path / "root"
  root.mkdir()
  for name in ("cat", "dog"):
    os.symlink(tmp_path / "store", root / name)
  os.symlink(root, tmp_path / "store" / "back")
  source = sources.folder(path=str(root), split="all")
  assert [f for f in source.files if "back" not in f] == ["cat/1.png", "dog/1.png"]
  assert len(source.files) <= 4


def test_fingerprint_tells_content_apart_and_survives_pickling(tmp_path):
  for i in range(3):
    save(tmp_path / f"{i}.png")
  source = sources.folder(path=str(tmp_path), split="all")
  assert pickle.loads(pickle.dumps(source)).fingerprint == source.fingerprint
  save(tmp_path / "0.png", smooth(20, 20))
  assert sources.folder(path=str(tmp_path), split="all").fingerprint != source.fingerprint


def test_folders_that_cannot_be_used_are_explained(tmp_path):
  (tmp_path / "images").mkdir()
  with pytest.raises(errors.InputError, match="did you mean 'images'"):
    sources.folder(path=str(tmp_path / "imagse"))
  with pytest.raises(errors.InputError, match="found no files"):
    sources.folder(path=str(tmp_path / "images"))
  (tmp_path / "images" / "a.tif").write_text("")
  with pytest.raises(
    errors.InputError, match=r"\.jpg, \.jpeg, \.png, \.webp, \.npy; found 1 \.tif"
  ):
    sources.folder(path=str(tmp_path / "images"))


# --- Pixels ---------------------------------------------------------------------------------------


def test_small_images_are_kept_and_large_ones_are_shrunk(tmp_path):
  small, large = smooth(20, 30), smooth(50, 200, seed=1)
  save(tmp_path / "1.png", small)
  save(tmp_path / "2.png", large)
  batch = sources.folder(path=str(tmp_path), split="all", canvas=64)[np.array([0, 1])]
  np.testing.assert_array_equal(batch["size"], np.array([[20, 30], [16, 64]], np.int32))
  np.testing.assert_array_equal(batch["image"][0, :20, :30], small)
  assert not batch["image"][0, 20:].any()
  assert not batch["image"][0, :, 30:].any()
  expected = np.asarray(Image.fromarray(large).resize((64, 16), Image.BICUBIC))
  np.testing.assert_array_equal(batch["image"][1, :16], expected)


def test_jpegs_decoded_at_reduced_size_look_the_same(tmp_path):
  image = smooth(800, 600)
  save(tmp_path / "1.jpg", image, quality=95)
  expected = np.asarray(Image.fromarray(image).resize((48, 64), Image.BICUBIC)).astype(int)
  assert np.abs(read(tmp_path) - expected).mean() < 1.5


RGB = np.array([[[200, 100, 50], [10, 20, 30]]], np.uint8)
LUMA = np.array([[[124], [18]]], np.uint8)
ALPHA = np.array([[[90], [255]]], np.uint8)
GREY = np.array([[[7], [250]]], np.uint8)
FULL = np.full((1, 2, 1), 255, np.uint8)


def join(*parts):
  return np.concatenate(parts, -1)


@pytest.mark.parametrize(
  ("stored", "channels", "expected"),
  [
    (GREY, 1, GREY),
    (GREY, 2, join(GREY, FULL)),
    (GREY, 3, join(GREY, GREY, GREY)),
    (GREY, 4, join(GREY, GREY, GREY, FULL)),
    (join(GREY, ALPHA), 1, GREY),
    (join(GREY, ALPHA), 2, join(GREY, ALPHA)),
    (join(GREY, ALPHA), 3, join(GREY, GREY, GREY)),
    (join(GREY, ALPHA), 4, join(GREY, GREY, GREY, ALPHA)),
    (RGB, 1, LUMA),
    (RGB, 2, join(LUMA, FULL)),
    (RGB, 3, RGB),
    (RGB, 4, join(RGB, FULL)),
    (join(RGB, ALPHA), 1, LUMA),
    (join(RGB, ALPHA), 2, join(LUMA, ALPHA)),
    (join(RGB, ALPHA), 3, RGB),
    (join(RGB, ALPHA), 4, join(RGB, ALPHA)),
  ],
)
@pytest.mark.parametrize("extension", ["png", "npy"])
def test_channels_follow_the_table(tmp_path, stored, channels, expected, extension):
  if extension == "npy":
    np.save(tmp_path / "1.npy", stored)
  else:
    save(tmp_path / "1.png", stored[..., 0] if stored.shape[-1] == 1 else stored)
  np.testing.assert_array_equal(read(tmp_path, channels), expected)


def test_other_channel_counts_come_from_arrays(tmp_path):
  values = smooth(40, 80, 6)
  np.save(tmp_path / "1.npy", values)
  np.testing.assert_array_equal(read(tmp_path, 6, canvas=80), values)
  shrunk = read(tmp_path, 6, canvas=20)
  expected = np.asarray(Image.fromarray(values[..., 5]).resize((20, 10), Image.BICUBIC))
  np.testing.assert_array_equal(shrunk[..., 5], expected)
  with pytest.raises(errors.InputError, match=r"1\.npy \(6 channels\) cannot be turned into 3"):
    read(tmp_path, 3)
  save(tmp_path / "0.png")
  with pytest.raises(errors.InputError, match=r"0\.png \(RGB\) cannot be turned into 6"):
    read(tmp_path, 6)


def test_palettes_with_and_without_transparency(tmp_path):
  palette = Image.fromarray(RGB).quantize(2)
  save(tmp_path / "1.png", palette)
  np.testing.assert_array_equal(read(tmp_path), RGB)
  index = palette.getpixel((0, 0))
  save(tmp_path / "1.png", palette, transparency=index)
  np.testing.assert_array_equal(read(tmp_path), RGB)
  np.testing.assert_array_equal(read(tmp_path, 4)[0, :, 3], [0, 255])


def test_cmyk_16_bits_bilevel_and_animations(tmp_path):
  path = tmp_path / "1.jpg"
  save(path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
  np.testing.assert_allclose(read(tmp_path)[0, 0].astype(int), [255, 0, 0], atol=3)
  path.unlink()
  save(tmp_path / "1.png", np.array([[0, 255, 256, 65535]], np.uint16))
  np.testing.assert_array_equal(read(tmp_path, 1)[..., 0], [[0, 0, 1, 255]])
  save(tmp_path / "1.png", Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"))
  np.testing.assert_array_equal(read(tmp_path, 1)[..., 0], [[0, 255]])
  frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
  save(tmp_path / "1.png", frames[0], save_all=True, append_images=frames[1:])
  np.testing.assert_array_equal(read(tmp_path)[0, 0], [255, 0, 0])


def test_exif_rotation_is_applied(tmp_path):
  image = Image.fromarray(np.stack([GREY[0, :, 0]] * 4).repeat(4, 1))  # 8 wide, dark left half
  exif = Image.Exif()
  exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
  image.save(tmp_path / "1.jpg", quality=100, exif=exif)
  turned = read(tmp_path, 1)
  assert turned.shape == (8, 4, 1)
  assert turned[:3].max() < 60
  assert turned[5:].min() > 190


# --- Limits and broken files ----------------------------------------------------------------------


def damaged(kind):
  file = io.BytesIO()
  Image.fromarray(smooth(64, 64)).save(file, kind)
  return file.getvalue()[: len(file.getvalue()) // 2]


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("empty.png", b""),
    ("text.jpg", b"no image"),
    ("half.jpg", damaged("JPEG")),
    ("half.png", damaged("PNG")),
    ("half.webp", damaged("WEBP")),
    ("tiff.png", b"II*\0" + bytes(100)),
    ("text.npy", b"no array"),
  ],
)
def test_unreadable_images_are_named(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(
    errors.InputError, match=rf"{name} cannot be read as an image.*Mend or remove"
  ):
    read(tmp_path)


def test_lost_files_and_wrong_arrays_are_named(tmp_path):
  os.symlink(tmp_path / "gone", tmp_path / "1.png")
  with pytest.raises(errors.InputError, match=r"1\.png cannot be opened"):
    read(tmp_path)
  (tmp_path / "1.png").unlink()
  np.save(tmp_path / "1.npy", np.zeros((3, 3), np.float32))
  with pytest.raises(errors.InputError, match=r"uint8 \[h w c\] is wanted.*float32"):
    read(tmp_path)


@pytest.mark.parametrize("extension", ["png", "npy"])
def test_images_over_the_limits_are_refused_before_decoding(tmp_path, extension, monkeypatch):
  path = tmp_path / f"1.{extension}"
  np.save(path, smooth(40, 50)) if extension == "npy" else save(path, smooth(40, 50))
  monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))

  def decoder(*limits):
    return sources.folder(path=str(tmp_path), split="all", limits=limits)[np.arange(1)]

  with pytest.raises(errors.InputError, match=r"50 x 40 = 2000 pixels.*limit of 1999"):
    decoder(1999, 10**6)
  with pytest.raises(errors.InputError, match=r"bytes, more than the limit of 99"):
    decoder(2000, 99)
  with pytest.raises(errors.InputError, match=r"data\.limits"):
    decoder(10**9, 99)
  with pytest.raises(errors.InputError, match="canvas 0"):
    read(tmp_path, canvas=0)


def test_a_decompression_bomb_costs_nothing(tmp_path):
  header = io.BytesIO()
  Image.new("1", (1, 1)).save(header, "PNG")
  data = bytearray(header.getvalue())
  data[16:24] = (30_000).to_bytes(4, "big") * 2  # the size in the header, with its checksum:
  data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
  (tmp_path / "bomb.png").write_bytes(bytes(data))
  with pytest.raises(errors.InputError, match=r"bomb\.png.*900000000 pixels"):
    read(tmp_path)
