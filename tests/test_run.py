"""What a run is told again: a folder of what it was trained on."""

import numpy as np
from PIL import Image

from mim_jax import config


def frames(path, count):
  path.mkdir(parents=True)
  for i in range(count):
    Image.fromarray(np.full((10, 12), i, np.uint8)).save(path / f"{i}.png")


def own(method, arg, path):
  """What the modality of a config opens of a user's files, as `reconstruct --from` does."""
  made = config.get_config(method, arg)
  modality = config.build(made.modality)
  return modality.own(str(path), made.data), made.data


def test_a_folder_is_read_as_the_run_s_own_kind_of_data(tmp_path):
  for clip in "ab":
    frames(tmp_path / "clips" / clip, 20)
  frames(tmp_path / "photos", 3)
  clips, data = own("videomae", "dataset=digits,size=nano", tmp_path / "clips")
  assert len(clips) == 2
  assert clips[np.arange(2)]["image"].shape[:2] == (2, data.test.sample.frames)
  photos, _ = own("mae", "dataset=digits", tmp_path / "photos")
  assert photos[np.arange(3)]["image"].shape == (3, 16, 16, 1)
