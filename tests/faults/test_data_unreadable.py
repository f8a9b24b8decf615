"""Corrupt, cut, empty, huge and lost images: replaced, counted, logged once, and only so many."""

import io
import json
import logging
import os
import pickle
import resource
import shutil
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax import experiment as experiment_lib
from mim_jax.data import pipeline, skipping
from mim_jax.data.image import sources
from mim_jax.data.video import clip_files as clip_files
from mim_jax.data.video import frames
from mim_jax.monitor import metrics
from mim_jax.optim import rules
from mim_jax.train import loop


def encoded(i, kind="PNG", size=(8, 8)):
  file = io.BytesIO()
  pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
  Image.fromarray(pixels).save(file, kind)
  return file.getvalue()


def bomb():
  """A PNG whose header says 30,000 x 30,000 pixels."""
  data = bytearray(encoded(0))
  data[16:24] = (30_000).to_bytes(4, "big") * 2
  data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
  return bytes(data)


BROKEN = {
  "cut.jpg": encoded(0, "JPEG", (64, 64))[:900],
  "cut.png": encoded(0)[:100],
  "empty.png": b"",
  "huge.png": bomb(),
  "text.webp": b"no image",
}


@pytest.fixture
def photos(tmp_path):
  """Forty images, of which five are broken, in two classes."""
  for i in range(35):
    place = tmp_path / "photos" / "ab"[i % 2] / f"{i:02}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(encoded(i))
  for i, (name, data) in enumerate(BROKEN.items()):
    (tmp_path / "photos" / "ab"[i % 2] / name).write_bytes(data)
  return tmp_path / "photos"


def opened(path, **settings):
  return sources.folder(path=str(path), split="all", canvas=8, **settings)


def drain(batches, count):
  return [next(batches) for _ in range(count)]


def test_each_bad_image_is_replaced_by_the_next_and_logged_once(photos, caplog):
  source = opened(photos)
  batches = pipeline.batches(source, 10, 0, skip_rate=0.2)
  with caplog.at_level(logging.WARNING):
    seen = drain(batches, 12)  # three epochs
  assert batches.skipped == 5
  for name in BROKEN:
    assert sum(name in record.getMessage() for record in caplog.records) == 1
  assert {batch["image"].shape for batch in seen} == {(10, 8, 8, 3)}
  assert all(set(batch) == {"image", "size", "label"} for batch in seen)
  whole = skipping.SkipUnreadable(source, 0.2)
  for index, file in enumerate(source.files):
    replacement = index
    while os.path.basename(source.files[replacement]) in BROKEN:
      replacement = (replacement + 1) % len(source)
    found, expected = whole[np.array([index])], source[np.array([replacement])]
    for key in expected:
      np.testing.assert_array_equal(found[key], expected[key], err_msg=file)
  batches.close()


def test_a_bad_image_is_tried_once(photos, monkeypatch):
  source, tried = opened(photos), []
  kept = type(source.decoder).picture

  def picture(self, data, name):
    tried.append(name)
    return kept(self, data, name)

  monkeypatch.setattr(type(source.decoder), "picture", picture)
  whole = skipping.SkipUnreadable(source, 0.2)
  first = whole[np.arange(40)]
  bad = [name for name in tried if os.path.basename(name) in BROKEN]
  again = whole[np.arange(40)]
  assert [name for name in tried if os.path.basename(name) in BROKEN] == bad
  for key in first:
    np.testing.assert_array_equal(first[key], again[key])


def test_a_resumed_stream_with_bad_images_is_the_unbroken_one(photos, caplog):
  whole = pipeline.batches(opened(photos), 10, 3, skip_rate=0.2)
  drain(whole, 2)
  state = json.loads(json.dumps(whole.get_state()))
  logged = len(whole.get_state().get("skipped", {}))
  expected = drain(whole, 6)
  resumed = pipeline.batches(opened(photos), 10, 3, skip_rate=0.2)
  resumed.set_state(state)
  caplog.clear()
  with caplog.at_level(logging.WARNING):
    found = drain(resumed, 6)
  for one, other in zip(found, expected, strict=True):
    for key in one:
      np.testing.assert_array_equal(one[key], other[key])
  assert resumed.get_state() == whole.get_state()
  assert len(caplog.records) == 5 - logged  # what was said before is not said again


def test_too_many_bad_images_stop_the_run(photos):
  batches = pipeline.batches(opened(photos), 10, 0, skip_rate=0.1)
  with pytest.raises(
    errors.InputError, match=r"5 of 40 samples.*fraction of 0\.1.*train\.skip_rate"
  ):
    drain(batches, 4)
  with pytest.raises(errors.InputError, match=r"1 of 40 samples.*fraction of 0 "):
    drain(pipeline.batches(opened(photos), 10, 0, skip_rate=0.0), 4)
  with pytest.raises(errors.InputError, match=r"train\.skip_rate: 2.0 is no fraction"):
    pipeline.batches(opened(photos), 10, 0, skip_rate=2.0)


def test_a_set_without_any_readable_image_ends(tmp_path):
  for i in range(4):
    (tmp_path / f"{i}.png").write_bytes(b"broken")
  with pytest.raises(errors.InputError, match="2 of 4 samples cannot be read"):
    next(pipeline.batches(opened(tmp_path), 2, 0))


def test_evaluations_pass_over_bad_images_too(photos):
  source = skipping.SkipUnreadable(opened(photos), 0.2)
  assert sum(count for _, count in pipeline.in_order(source, 16)) == 40
  assert len(source.skipped) == 5


def test_a_lost_file_and_other_errors_of_one_file_are_skipped(photos):
  source = opened(photos)
  os.remove(photos / source.files[0])
  assert source.fingerprint  # the difference shows there
  whole = skipping.SkipUnreadable(pickle.loads(pickle.dumps(source)), 0.2)
  whole[np.arange(1)]
  assert "cannot be opened" in whole.skipped[0]


def test_clips_with_bad_frames_are_replaced(tmp_path):
  for clip in range(4):
    for i in range(3):
      place = tmp_path / f"{clip}" / f"{i}.png"
      place.parent.mkdir(exist_ok=True)
      place.write_bytes(b"" if clip == 2 else encoded(10 * clip + i))

  def sample(count, chance=None):
    return frames.dense(count, chance, frames=2, stride=1)

  source = clip_files.clips(path=str(tmp_path), split="all", sample=sample, canvas=8)
  batches = pipeline.batches(source, 4, 0, skip_rate=0.2)
  image = drain(batches, 3)[0]["image"]
  assert image.shape == (4, 2, 8, 8, 3)
  assert batches.skipped == 1


def test_a_huge_image_costs_no_memory(tmp_path):
  for kind in ("PNG", "JPEG"):
    data = bytearray(encoded(1, kind))
    if kind == "JPEG":
      at = data.index(b"\xff\xc0") + 5
      data[at : at + 4] = (65_000).to_bytes(2, "big") * 2
    (tmp_path / f"huge.{kind.lower()}").write_bytes(bomb() if kind == "PNG" else bytes(data))
  source = opened(tmp_path)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  for index in range(2):
    with pytest.raises(errors.UnreadableError, match=r"pixels.*limit"):
      source[np.array([index])]
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # in KiB


def test_training_with_bad_images_resumes_bit_for_bit(photos, tmp_path):
  spec = f"dataset=folder,path={photos},size=nano,image=8,patch=4"
  config = config_lib.get_config("mae", spec)
  settings = dict(steps=4, epochs=None, batch_size=16, log_every=1, checkpoint_every=2)
  config.train.update(settings | dict(skip_rate=0.2))
  config.data.train.holdout = 0.0
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  (tmp_path / "whole").mkdir()
  whole, facts = loop.train(experiment.trainable, tmp_path / "whole")
  shutil.copytree(tmp_path / "whole", tmp_path / "parts")
  shutil.rmtree(tmp_path / "parts" / "checkpoints" / "4")
  parts, resumed = loop.train(experiment.trainable, tmp_path / "parts")
  for (name, one), (_, other) in zip(
    *(rules.named_leaves(jax.device_get(state)) for state in (whole, parts)), strict=True
  ):
    np.testing.assert_array_equal(one, other, err_msg=name)
  assert facts["unreadable"] == resumed["unreadable"] == 5
  counted = [
    [line["unreadable"] for line in metrics.read(tmp_path / run / "metrics.jsonl")]
    for run in ("whole", "parts")
  ]
  assert counted[0] == counted[1]
  assert counted[0][-1] == 5
