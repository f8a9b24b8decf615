"""Texts: what comes along, files of a user's own, and what is refused."""

import numpy as np
import pytest

from mim_jax.data import text
from mim_jax.data.text import byte_files, chunks, python_topics
from mim_jax.errors import InputError


def joined(source, rows=None):
  """All bytes of some chunks of a source."""
  found = source[np.arange(len(source)) if rows is None else rows]["text"]
  return bytes(found[found >= 0].astype(np.uint8))


def test_the_topics_are_the_same_everywhere():
  train, test = text.topics(split="train"), text.topics(split="test")
  assert (len(train), len(test)) == (2426, 573)
  assert (train.fingerprint, test.fingerprint) == ("a46e5daaa9de7c3b", "08f275d484126ff1")


def test_every_chapter_is_in_both_splits():
  for split in ("train", "test"):
    source = text.topics(split=split)
    assert source.classes == tuple(python_topics.CHAPTERS)
    assert np.bincount(source.label, minlength=9).min() >= 10


def test_every_topic_is_in_one_chapter():
  names = [name for line in python_topics.CHAPTERS.values() for name in line.split()]
  assert sorted(names) == sorted(python_topics.once())


def test_no_paragraph_of_test_is_in_train():
  paragraphs = {}
  for split in ("train", "test"):
    whole = set()
    for line in python_topics.CHAPTERS.values():
      for name in line.split():
        start, end = python_topics.halves(name)
        part = (start if split == "train" else end).decode()
        whole |= {" ".join(p.split()) for p in part.split("\n\n")}
    paragraphs[split] = whole - {""}
  # A topic of one paragraph is cut in its midst; what is short may stand in it again.
  same = {p for p in paragraphs["train"] & paragraphs["test"] if len(p) > 40}
  assert not same


def test_a_short_chunk_is_filled_up_behind_its_end():
  batch = text.topics(split="test")[np.arange(573)]
  assert batch["text"].dtype == np.int16 and batch["label"].dtype == np.int32
  real = batch["text"] >= 0
  assert (batch["text"][~real] == chunks.FILL).all() and (~real).any()
  assert (np.diff(real.astype(int), axis=1) <= 0).all()
  assert real[:, 0].all()


def test_a_part_of_a_split_and_another_length():
  tenth = text.topics(split="train[:10%]", length=64)
  assert tenth[np.arange(3)]["text"].shape == (3, 64)
  assert 450 < len(tenth) < 500
  assert tenth.names(np.array([1])) == ["topics train chunk 1"]


@pytest.fixture
def folder(tmp_path):
  for name, words in dict(prose="It was a fine day.\n" * 40, code="x = x + 1\n" * 50).items():
    (tmp_path / name).mkdir()
    (tmp_path / name / "one.txt").write_text(words)
  (tmp_path / "code" / "notes.md").write_text("passed over")
  return tmp_path


def test_a_folder_of_files(folder):
  train, test = (text.text_files(path=str(folder), split=s, length=32) for s in ("train", "test"))
  assert train.classes == test.classes == ("code", "prose")
  assert set(train.label) == set(test.label) == {0, 1}
  every = text.text_files(path=str(folder), split="all", length=32)
  assert joined(every, every.label == 1) == b"It was a fine day.\n" * 40
  assert joined(train, train.label == 1) + joined(test, test.label == 1) == (
    b"It was a fine day.\n" * 40
  )
  assert joined(test, test.label == 1).startswith(b"It")  # cut at the end of a line


def test_splits_of_a_folder(tmp_path):
  for split in ("train", "val"):
    (tmp_path / split / "a").mkdir(parents=True)
    (tmp_path / split / "a" / "x.txt").write_text(split * 10)
  assert joined(text.text_files(path=str(tmp_path), split="train")) == b"train" * 10
  assert joined(text.text_files(path=str(tmp_path), split="test")) == b"val" * 10


def test_one_file_of_any_encoding(tmp_path):
  file = tmp_path / "x.txt"
  file.write_bytes(bytes(range(256)))
  source = text.text_files(path=str(file), split="all", length=100)
  assert joined(source) == bytes(range(256))
  assert source.classes == () and (source.label == -1).all()


def refused(match, **settings):
  with pytest.raises(InputError, match=match):
    text.text_files(**settings)


def test_what_is_refused(tmp_path, folder):
  refused(r"there is no folder .*did you mean 'code'", path=str(folder / "cod"))
  (tmp_path / "empty").mkdir()
  refused("holds no text files. Looked for .txt", path=str(tmp_path / "empty"))
  (tmp_path / "empty" / "x.txt").touch()
  refused("holds no text: its files are empty", path=str(tmp_path / "empty"))
  refused(r"1,\d+ bytes; at most 1,000 .*data.train.limit", path=str(folder), limit=1000)
  refused("'tset' is unknown; did you mean 'test'", path=str(folder), split="tset")
  refused("data.length: 0 bytes are no chunk", path=str(folder), length=0)
  refused("data.holdout: 1.5", path=str(folder), holdout=1.5)


def test_a_file_that_cannot_be_read(folder, monkeypatch):
  def lost(*_):
    raise PermissionError("denied")

  monkeypatch.setattr("builtins.open", lost)
  refused("cannot be opened", path=str(folder))
  assert byte_files.LIMIT == 2**28
