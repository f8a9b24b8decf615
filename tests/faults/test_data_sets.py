"""Sets that are empty, too small, or another one than the checkpoint's."""

import jax
import numpy as np
import pytest
from PIL import Image

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax import experiment as experiment_lib
from mim_jax.data.image import sources
from mim_jax.devices import program
from mim_jax.train import loop


def write(path, count, first=0):
  path.mkdir(parents=True, exist_ok=True)
  for i in range(first, first + count):
    pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path / f"{i:03}.png")


def experiment(path, **train):
  config = config_lib.get_config("mae", f"dataset=folder,path={path},size=nano,image=8,patch=4")
  train = dict(steps=2, epochs=None, batch_size=8, fit_batch=False) | train
  config.train.update(train)
  config.data.train.holdout = config.data.test.holdout = 0.0
  config.data.test.split = "all"
  return experiment_lib.build(config, devices=jax.devices()[:1])


def test_an_empty_set_is_refused_before_anything_is_compiled(tmp_path, monkeypatch):
  monkeypatch.setattr(program, "lower_update", lambda *a, **k: pytest.fail("compiled"))
  with pytest.raises(errors.InputError, match="holds no images"):
    (tmp_path / "none").mkdir()
    loop.train(experiment(tmp_path / "none").trainable, tmp_path)
  write(tmp_path / "few", 5)
  with pytest.raises(errors.InputError, match="has 5 samples, fewer than one batch of 8"):
    loop.train(experiment(tmp_path / "few").trainable, tmp_path)
  with pytest.raises(errors.InputError, match="no folder"):
    loop.train(experiment(tmp_path / "absent").trainable, tmp_path)


def test_an_empty_class_has_no_number_and_empty_arrays_are_refused(tmp_path):
  write(tmp_path / "photos" / "cat", 2)
  (tmp_path / "photos" / "dog").mkdir()
  assert sources.folder(path=str(tmp_path / "photos"), split="all").classes == ("cat",)
  np.savez(tmp_path / "a.npz", images=np.zeros((0, 2, 2, 3), np.uint8))
  with pytest.raises(errors.InputError, match="uint8"):
    sources.arrays(path=str(tmp_path / "a.npz"))


def test_a_set_that_changed_since_the_checkpoint_is_refused_with_counts(tmp_path):
  write(tmp_path / "photos", 16)
  before = experiment(tmp_path / "photos")
  saved = dict(dataset=before.spec.fingerprint(), samples=len(before.spec.data.train))
  same = experiment(tmp_path / "photos")
  loop.check_dataset(saved, same.trainable)
  write(tmp_path / "photos", 1, first=16)
  after = experiment(tmp_path / "photos")
  with pytest.raises(errors.InputError, match=r"\(16 samples.* then; 17 samples.* now\)"):
    loop.check_dataset(saved, after.trainable)
