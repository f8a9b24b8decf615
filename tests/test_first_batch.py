"""Every size of every method opens its first batch, with embedded data and with a few own files."""

import numpy as np
import pytest
from PIL import Image

from mim_jax import config as config_lib
from mim_jax.configs import arguments
from mim_jax.experiment import spec as spec_lib

SIZES = [*arguments.SIZES]
OTHERS = {("spark", "H"): "network=convnext_l", ("simmim", "H"): ""}  # no network of that size


def pixels(random, h=20, w=24, c=3):
  return random.integers(0, 255, (h, w, c), np.uint8)


@pytest.fixture(scope="session")
def few(tmp_path_factory):
  """{family of data: argument}: a folder of images, of clips, of images with maps, of texts."""
  root, random = tmp_path_factory.mktemp("few"), np.random.default_rng(0)
  for i in range(12):
    for kind in ("photos/a", "pool/image", "pool/depth", "pool/semantic"):
      (root / kind).mkdir(parents=True, exist_ok=True)
    image = pixels(random)
    Image.fromarray(image).save(root / "photos" / "a" / f"{i}.png")
    Image.fromarray(image).save(root / "pool" / "image" / f"{i}.png")
    Image.fromarray(image[..., 0]).save(root / "pool" / "depth" / f"{i}.png")
    Image.fromarray(image[..., 1] % 5).save(root / "pool" / "semantic" / f"{i}.png")
    clip = root / "clips" / "a" / f"{i}"
    clip.mkdir(parents=True)
    for t in range(20):
      Image.fromarray(pixels(random)).save(clip / f"{t:02d}.png")
    (root / "texts" / "a").mkdir(parents=True, exist_ok=True)
    (root / "texts" / "a" / f"{i}.txt").write_text("all the words of a text " * 60)
  return {
    "image": f"dataset=folder,path={root}/photos,image=32",
    "video": f"dataset=clips,path={root}/clips,image=32",
    "pool": f"dataset=folder,path={root}/pool,image=32,classes=5",
    "text": f"dataset=folder,path={root}/texts",
  }


def first(method, arg):
  config = spec_lib.fitted(config_lib.get_config(method, arg))
  batch = next(spec_lib.Spec(config).batches())
  rows = {len(value) for value in batch.values()}
  assert rows == {config.train.batch_size}
  return config


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", config_lib.names())
def test_with_embedded_data(method, size):
  more = OTHERS.get((method, size), "")
  config = first(method, f"dataset=embedded,size={size}" + (f",{more}" if more else ""))
  assert config.train.batch_size <= 256


@pytest.mark.parametrize("size", ["nano", "B"])
@pytest.mark.parametrize("method", config_lib.names())
def test_with_a_few_own_files(method, size, few, monkeypatch):
  kind = config_lib.get_config(method, "dataset=embedded").modality.part.rpartition(".")[2].lower()
  config = first(method, f"{few[kind]},size={size}")
  assert config.train.batch_size in (8, 32)  # of texts there are more chunks than files
  assert config.train.fit_batch is False
