import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from mim_jax import errors
from mim_jax.data.image import sources, tar_shards


def encoded(i, kind="PNG"):
  file = io.BytesIO()
  Image.fromarray(np.full((4 + i % 3, 5, 3), i, np.uint8)).save(file, kind)
  return file.getvalue()


def write(path, numbers, label="cls", prefix=""):
  """A shard whose image i has the value i and the label i % 3."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, "w") as tar:
    for i in numbers:
      files = {"png": encoded(i), "txt": b"a caption"}
      if label == "cls":
        files["cls"] = str(i % 3).encode()
      elif label == "json":
        files["json"] = json.dumps({"label": i % 3, "other": 1}).encode()
      for ending, data in files.items():
        member = tarfile.TarInfo(f"{prefix}{i:04}.{ending}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def everything(source):
  return source[np.arange(len(source))]


def opened(path, split="all", **settings):
  return sources.shards(path=str(path), split=split, canvas=8, **settings)


@pytest.mark.parametrize("label", ["cls", "json", "none"])
def test_images_and_labels_are_read_where_they_lie(tmp_path, label):
  write(tmp_path / "a-000.tar", range(7), label)
  write(tmp_path / "a-001.tar", range(7, 12), label, prefix="deep/er/")
  source = opened(tmp_path)
  batch = everything(source)
  value = batch["image"][:, 0, 0, 0].astype(int)
  np.testing.assert_array_equal(value, np.arange(12))
  np.testing.assert_array_equal(batch["label"], value % 3 if label != "none" else -1)
  np.testing.assert_array_equal(batch["size"][:, 0], 4 + value % 3)
  assert source.classes == (() if label == "none" else ("0", "1", "2"))
  assert source.names(np.array([0, 11])) == ["a-000.tar/0000.png", "a-001.tar/deep/er/0011.png"]
  assert sorted(os.listdir(tmp_path)) == [tar_shards.INDEX, "a-000.tar", "a-001.tar"]


def test_the_index_is_made_once_and_anew_when_a_shard_changes(tmp_path, monkeypatch):
  write(tmp_path / "a.tar", range(6))
  first = opened(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(tar_shards, "_members", lambda path: pytest.fail("looked again"))
    second = opened(tmp_path)
  assert second.fingerprint == first.fingerprint
  np.testing.assert_array_equal(everything(second)["image"], everything(first)["image"])
  write(tmp_path / "a.tar", range(9))
  assert len(opened(tmp_path)) == 9
  (tmp_path / tar_shards.INDEX).write_bytes(b"damaged")
  assert len(opened(tmp_path)) == 9
  monkeypatch.setattr(
    tar_shards.np, "savez", lambda *a, **k: (_ for _ in ()).throw(OSError("no room"))
  )
  (tmp_path / tar_shards.INDEX).unlink()
  assert len(opened(tmp_path)) == 9


def test_words_in_the_names_of_shards_are_the_splits(tmp_path):
  write(tmp_path / "imagenet1k-train-0000.tar", range(5))
  write(tmp_path / "imagenet1k-validation-00.tar", range(5, 8))
  assert len(opened(tmp_path, "train")) == 5
  np.testing.assert_array_equal(everything(opened(tmp_path, "test"))["label"], [2, 0, 1])
  assert len(opened(tmp_path, "train[:40%]")) == 2
  write(tmp_path / "other" / "shard.tar", range(60))
  train, test = (opened(tmp_path / "other", split) for split in ("train", "test"))
  assert len(train) + len(test) == 60 and 1 <= len(test) < 20
  assert not set(train.files) & set(test.files)


def test_shards_that_cannot_be_used_are_explained(tmp_path):
  (tmp_path / "text.tar").write_bytes(b"no archive" * 200)
  with pytest.raises(errors.InputError, match=r"text\.tar cannot be read as a tar file"):
    opened(tmp_path)
  (tmp_path / "text.tar").unlink()
  (tmp_path / "a.tar.gz").write_bytes(b"")
  with pytest.raises(errors.InputError, match=r"\.tar, not compressed.*found 1 \.gz"):
    opened(tmp_path)
  with tarfile.open(tmp_path / "a.tar", "w") as tar:
    member = tarfile.TarInfo("1.cls")
    member.size = 3
    tar.addfile(member, io.BytesIO(b"cat"))
  with pytest.raises(errors.InputError, match=r"1\.cls holds no label"):
    opened(tmp_path)
  with tarfile.open(tmp_path / "a.tar", "w"):
    pass
  with pytest.raises(errors.InputError, match="hold no images"):
    opened(tmp_path)


def test_a_shard_cut_later_names_what_is_lost(tmp_path):
  write(tmp_path / "a.tar", range(5))
  source = opened(tmp_path)
  os.truncate(tmp_path / "a.tar", int(source.place[4][1]) + 10)
  assert len(source[np.arange(4)]["image"]) == 4
  with pytest.raises(errors.UnreadableError, match=r"a\.tar/0004\.png has lost its end"):
    source[np.array([4])]
  os.remove(tmp_path / "a.tar")
  with pytest.raises(errors.UnreadableError, match=r"0000\.png cannot be opened"):
    source[np.array([0])]
