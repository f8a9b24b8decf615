"""Every kind of picture becomes the same three channels, by the device's road and by the host's."""

import numpy as np
import pytest
from PIL import Image

from mim_jax.data.image import host, sources

RED, SIDE = (200, 30, 40), 24
PLAIN = Image.new("RGB", (SIDE, SIDE), RED)
TURN = Image.Exif()
TURN[0x0112] = 6
HALVES = Image.new("RGB", (SIDE, SIDE), RED)
HALVES.paste((0, 0, 0), (0, 0, SIDE, SIDE // 2))  # black above; to be looked at turned clockwise


def grey16():
  return Image.fromarray(np.full((SIDE, SIDE), 77 * 256 + 5, np.uint16))


KINDS = {
  "rgb.jpg": (PLAIN, {}, RED),
  "progressive.jpg": (PLAIN, dict(progressive=True), RED),
  "cmyk.jpg": (PLAIN.convert("CMYK"), {}, RED),
  "grey.jpg": (Image.new("L", (SIDE, SIDE), 99), {}, (99,) * 3),
  "grey.png": (Image.new("L", (SIDE, SIDE), 99), {}, (99,) * 3),
  "two.png": (Image.new("LA", (SIDE, SIDE), (99, 10)), {}, (99,) * 3),
  "sixteen.png": (grey16(), {}, (77,) * 3),
  "bilevel.png": (Image.new("1", (SIDE, SIDE), 1), {}, (255,) * 3),
  "palette.png": (PLAIN.quantize(4), {}, RED),
  "clear_palette.png": (PLAIN.quantize(4), dict(transparency=0), RED),
  "alpha.png": (Image.new("RGBA", (SIDE, SIDE), (*RED, 0)), {}, RED),
  "lossless.webp": (PLAIN, dict(lossless=True), RED),
  "moving.png": (PLAIN, dict(save_all=True, append_images=[HALVES]), RED),
  "moving.webp": (PLAIN, dict(save_all=True, append_images=[HALVES], lossless=True), RED),
}


def opened(path):
  return sources.folder(path=str(path), split="all", canvas=SIDE)


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_pictures(tmp_path, name):
  image, options, expected = KINDS[name]
  image.save(tmp_path / name, **options)
  whole = opened(tmp_path)[np.arange(1)]["image"][0]
  crop = host.cropped(source=lambda: opened(tmp_path), size=(8, 8)).draw(
    np.arange(1), np.arange(1), 0
  )["image"][0]
  for found in (whole, crop):
    assert found.shape[-1] == 3
    difference = np.abs(found.astype(int) - np.array(expected)).max()
    assert difference <= (4 if name.endswith("jpg") else 0)


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.webp"])
def test_pictures_that_ask_to_be_turned_are(tmp_path, name):
  HALVES.save(tmp_path / name, exif=TURN, **(dict(lossless=True) if "webp" in name else {}))
  whole = opened(tmp_path)[np.arange(1)]["image"][0].astype(int)
  assert whole[:, : SIDE // 2 - 4].mean() > 60  # what lay below is on the left
  assert whole[:, SIDE // 2 + 4 :].max() < 30
  source = host.cropped(source=lambda: opened(tmp_path), size=(8, 8), scale=(1.0, 1.0), flip=False)
  crop = source.draw(np.arange(1), np.arange(1), 0)["image"][0].astype(int)
  assert crop[:, :2].mean() > 60 > crop[:, 6:].max()
