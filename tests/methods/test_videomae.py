"""VideoMAE: its recipe, and what it refuses."""

import pytest

from mim_jax import config as config_lib
from mim_jax import errors


def test_the_recipe():
  config = config_lib.get_config("videomae", "size=L")
  rate, predictor = config.optimizer.learning_rate, config.parts.predictor
  assert (rate.peak, rate.end, rate.start) == pytest.approx((3e-4, 2e-5, 0))
  assert rate.warmup == 40 / 1600
  assert (predictor.stack.depth, predictor.width, config.train.batch_size) == (12, 512, 512)
  assert (config.patch, config.objective.mask.ratio) == (16, 0.9)
  assert config_lib.get_config("videomae", "size=H").patch == 16
  assert config.data.train.sample.to_dict() == {
    "part": "mim_jax.data.video.dense",
    "frames": 16,
    "stride": 4,
  }


def test_a_data_set_that_has_no_clips_is_refused():
  with pytest.raises(errors.InputError, match="dataset, of clips: 'imagenet2012' is unknown"):
    config_lib.get_config("videomae", "dataset=imagenet2012")


@pytest.mark.parametrize("split", ["train", "test"])
def test_clips_are_made_of_arrays(split):
  c = config_lib.get_config("videomae", "dataset=arrays,path=own.npz,size=nano,image=48")
  node = c.data[split]
  wanted = ("mim_jax.data.video.moving_arrays", "own.npz", split)
  assert (node.part, node.path, node.split) == wanted
