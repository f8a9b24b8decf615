"""CropMAE and SiamMAE: their recipes, and that the one on frames learns."""

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax import experiment as experiment_lib


def test_the_recipes():
  crops, pairs = (config_lib.get_config("cropmae", f"views={v}") for v in ("crops", "frames"))
  for config, ratio in ((crops, 0.985), (pairs, 0.95)):
    assert config.optimizer.learning_rate.peak == pytest.approx(8e-4)
    assert (config.optimizer.learning_rate.warmup, config.train.epochs) == (0.05, 400)
    assert config.objective.mask.ratio == ratio
    assert config.parts.predictor.to_dict() == crops.parts.predictor.to_dict()
    assert (config.parts.encoder.stack.depth, config.parts.tokenizer.width) == (12, 384)
  assert (crops.data.augment.outer, crops.data.augment.inner) == ((0.1, 1.0), (0.3, 0.6))
  assert (pairs.data.augment.scale, pairs.data.augment.flip) == ((0.5, 1.0), True)
  sample = pairs.data.train.sample
  assert (sample.part, sample.low, sample.high) == ("mim_jax.data.video.pair", 4, 47)
  predictor = crops.parts.predictor
  assert (predictor.width, predictor.depth, predictor.heads, predictor.hidden) == (256, 4, 8, 2048)


def test_views_that_are_not_there_are_refused():
  with pytest.raises(errors.InputError, match="views: 'frame' is unknown; did you mean 'frames'"):
    config_lib.get_config("cropmae", "views=frame")


@pytest.mark.parametrize("split", ["train", "test"])
def test_frames_are_made_of_arrays(split):
  arg = "dataset=arrays,path=own.npz,size=nano,image=48,views=frames"
  node = config_lib.get_config("cropmae", arg).data[split]
  wanted = ("mim_jax.data.video.moving_arrays", "own.npz", split)
  assert (node.part, node.path, node.split) == wanted


def test_siammae_learns_and_is_evaluated_on_one_frame():
  """The variant that tests/test_methods.py does not see, since it asks for no views."""
  config = config_lib.get_config("cropmae", "dataset=digits,size=nano,views=frames")
  config.train.update(dict(steps=40, epochs=None, batch_size=16))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  state, batch = experiment.trainable.init(jax.random.key(0)), next(experiment.spec.batches())
  assert batch["image"].shape == (16, 2, 12, 12, 1)
  update, losses = jax.jit(experiment.trainable.update), []
  for _ in range(40):
    state, metrics = update(state, batch)
    losses.append(float(metrics["loss"]))
  assert np.isfinite(losses).all()
  assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])
  other = dict(batch, image=np.concatenate([255 - batch["image"][:, :1], batch["image"][:, 1:]], 1))
  encode = experiment.viewer.encoder(state.params, state.stats)
  np.testing.assert_array_equal(encode(batch), encode(other))
  pictures = experiment.viewer.pictures(state, batch)
  panels = {"original", "masked", "reconstruction", "visible only", "context"}
  assert set(pictures.panels) == panels
