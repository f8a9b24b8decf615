import json
import os

import numpy as np
import pytest
from PIL import Image

from mim_jax import errors
from mim_jax.cli import main as cli
from mim_jax.data import pipeline
from mim_jax.data.image import packed_store, packing, sources


def smooth(height, width, seed):
  grey = np.random.default_rng(seed).integers(0, 256, (3, 3, 1), np.uint8)
  noise = grey.repeat(3, -1)  # of one colour, since a JPEG halves the resolution of colours
  return np.asarray(Image.fromarray(noise).resize((width, height), Image.BICUBIC))


SIZES = [(20, 30), (40, 24), (8, 6), (16, 60)]  # the last is longer than 3/2 of 16


@pytest.fixture
def photos(tmp_path):
  """Twelve photos in two classes, and a broken one."""
  for i in range(12):
    place = tmp_path / "photos" / ("train" if i < 9 else "test") / "ab"[i % 2] / f"{i:02}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth(*SIZES[i % 4], i)).save(place)
  (tmp_path / "photos" / "train" / "a" / "broken.png").write_bytes(b"no image")
  return tmp_path / "photos"


def opened(photos, split="train"):
  return sources.folder(path=str(photos), split=split, canvas=64)


def pack(photos, to, **settings):
  both = {split: opened(photos, split) for split in ("train", "test")}
  known = packing.Settings(16, **settings)
  return packing.pack(both, str(to), known, "photos", workers=2, say=lambda text: None)


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_a_store_gives_back_what_was_packed(photos, tmp_path, kind):
  told = pack(photos, tmp_path / "store", kind=kind, quality=98)
  store = sources.packed(path=str(tmp_path / "store"))
  original = opened(photos)
  good = [i for i, name in enumerate(original.files) if "broken" not in name]
  assert len(store) == len(good) == told["splits"]["train"]["images"] == 9
  assert store.classes == original.classes == ("a", "b")
  batch, expected = store[np.arange(9)], original[np.array(good)]
  np.testing.assert_array_equal(batch["label"], expected["label"])
  np.testing.assert_array_equal(store.label, expected["label"])
  assert batch["image"].shape[1:3] == (24, 24) == (told["canvas"],) * 2
  for image, size, whole, true in zip(
    batch["image"], batch["size"], expected["image"], expected["size"], strict=True
  ):
    factor = min(1, 16 / true.min(), 24 / true.max())
    np.testing.assert_allclose(size, true * factor, atol=0.5)
    wanted = Image.fromarray(whole[: true[0], : true[1]]).resize(tuple(size[::-1]), Image.BICUBIC)
    found = image[: size[0], : size[1]].astype(int)
    difference = np.abs(found - np.asarray(wanted)).mean()
    assert difference <= (0 if kind == "raw" else 6), difference


def test_the_manifest_says_what_was_left_out_and_hashes(photos, tmp_path):
  pack(photos, tmp_path / "store")
  told = json.loads((tmp_path / "store" / "manifest.json").read_text())
  assert [entry["name"] for entry in told["splits"]["train"]["skipped"]] == ["train/a/broken.png"]
  assert "cannot be read as an image" in told["splits"]["train"]["skipped"][0]["reason"]
  assert told["splits"]["test"]["skipped"] == []
  shard = told["splits"]["train"]["shards"][0]
  assert len(shard["hash"]) == 64
  assert shard["bytes"] == os.path.getsize(tmp_path / "store" / shard["file"])
  assert (told["size"], told["kind"], told["quality"], told["origin"]) == (16, "jpeg", 95, "photos")
  assert not list((tmp_path / "store").glob("*.part.json"))


def test_an_interrupted_pack_goes_on(photos, tmp_path, monkeypatch):
  monkeypatch.setattr(packing, "PER_FILE", 3)
  whole = pack(photos, tmp_path / "whole")
  kept = packing._file
  written = []

  def interrupted(to, stem, *rest, **settings):
    if len(written) == 2:
      raise KeyboardInterrupt
    written.append(stem)
    return kept(to, stem, *rest, **settings)

  monkeypatch.setattr(packing, "_file", interrupted)
  with pytest.raises(KeyboardInterrupt):
    pack(photos, tmp_path / "parts")
  with pytest.raises(errors.InputError, match="holds no packed data set.*continues"):
    sources.packed(path=str(tmp_path / "parts"))
  before = (tmp_path / "parts" / "train-00001.array_record").stat().st_mtime_ns
  monkeypatch.setattr(packing, "_file", kept)
  parts = pack(photos, tmp_path / "parts")
  assert (tmp_path / "parts" / "train-00001.array_record").stat().st_mtime_ns == before
  hashes = [
    [shard["hash"] for split in made["splits"].values() for shard in split["shards"]]
    for made in (whole, parts)
  ]
  assert hashes[0] == hashes[1] and len(hashes[0]) == 5
  read = [sources.packed(path=str(tmp_path / name)) for name in ("whole", "parts")]
  assert read[0].fingerprint == read[1].fingerprint
  np.testing.assert_array_equal(read[0][np.arange(9)]["image"], read[1][np.arange(9)]["image"])
  part = sources.packed(path=str(tmp_path / "whole"), split="train[:50%]")
  assert len(part) == 4 and part.fingerprint != read[0].fingerprint


def test_stores_that_cannot_be_are_explained(photos, tmp_path):
  store = tmp_path / "store"
  pack(photos, store)
  with pytest.raises(errors.InputError, match=r"begun in another way \(quality 95 there, 50 now\)"):
    pack(photos, store, quality=50)
  with pytest.raises(errors.InputError, match="not empty"):
    pack(photos, photos)
  with pytest.raises(errors.InputError, match="packed with 3 channels, not 1"):
    sources.packed(path=str(store), channels=1)
  for settings, words in (
    (dict(kind="jpg"), "did you mean 'jpeg'"),
    (dict(quality=0), "--quality 0"),
    (dict(channels=4), "Use --kind=raw"),
  ):
    with pytest.raises(errors.InputError, match=words):
      packing.Settings(**settings)
  told = json.loads((store / "manifest.json").read_text())
  (store / "manifest.json").write_text(json.dumps(told | {"format": 9}))
  with pytest.raises(errors.InputError, match="format 9, this version reads 1"):
    sources.packed(path=str(store))
  (store / "manifest.json").write_text(json.dumps(told))
  source = sources.packed(path=str(store))
  os.truncate(store / "train-00000.array_record", 10)
  with pytest.raises(errors.InputError, match="has 10 bytes"):
    sources.packed(path=str(store))
  packed_store._reader.cache_clear()
  with pytest.raises(errors.UnreadableError, match=r"train-00000\.array_record cannot be read"):
    source[np.array([0])]


def test_a_damaged_record_is_an_unreadable_image(photos, tmp_path):
  pack(photos, tmp_path / "store", kind="raw")
  source = sources.packed(path=str(tmp_path / "store"))
  for record in (b"", packed_store.HEADER.pack(0, 4, 4, 3) + bytes(47)):
    with pytest.raises(errors.UnreadableError, match="is damaged"):
      source._stored(record)


@pytest.mark.slow
def test_the_command_packs_and_training_reads_it(photos, tmp_path, capsys):
  store = tmp_path / "store"
  assert cli.main(["pack", f"--from={photos}", f"--to={store}", "--size=16", "--kind=raw"]) == 0
  out = capsys.readouterr().out
  assert "train: 9 images, 1 left out" in out and "dataset=packed" in out
  assert len(sources.packed(path=str(store), split="test")) == 3
  plain = pipeline.batches(sources.packed(path=str(store)), 4, 0)
  processes = pipeline.batches(sources.packed(path=str(store)), 4, 0, workers=1)
  for _ in range(3):
    np.testing.assert_array_equal(next(plain)["image"], next(processes)["image"])
  processes.close()
