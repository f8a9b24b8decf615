"""VideoMAE, CropMAE and SiamMAE as their configs build them."""

import importlib.util

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax import experiment as experiment_lib


def config_module(method):
  spec = importlib.util.spec_from_file_location(method, config_lib.folder() / f"{method}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize(
  ("method", "arg", "published"),
  [
    ("videomae", "size=S", 69),
    ("videomae", "size=B", 213),
    ("videomae", "size=L", 856),
    ("videomae", "size=H", 1426),
    ("cropmae", "", 37.1),
    ("cropmae", "views=frames", 38.0),
  ],
)
def test_methods_cost_what_their_files_say(method, arg, published):
  module = config_module(method)
  assert module.flops(module.get_config(arg)) / 1e9 == pytest.approx(published, rel=0.005)


def test_the_recipe_of_videomae():
  config = config_lib.get_config("videomae", "size=L")
  rate, predictor = config.optimizer.learning_rate, config.parts.predictor
  assert (rate.peak, rate.end, rate.start) == pytest.approx((3e-4, 2e-5, 0))
  assert rate.warmup == 40 / 1600
  assert (predictor.depth, predictor.width, config.train.batch_size) == (12, 512, 512)
  assert (config.patch, config.objective.mask.ratio) == (16, 0.9)
  assert config_lib.get_config("videomae", "size=H").patch == 16
  assert config.data.train.sample.to_dict() == {
    "part": "mim_jax.data.video.frames.dense",
    "frames": 16,
    "stride": 4,
  }


def test_the_recipes_of_cropmae_and_siammae():
  crops, pairs = (config_lib.get_config("cropmae", f"views={v}") for v in ("crops", "frames"))
  for config, ratio in ((crops, 0.985), (pairs, 0.95)):
    assert config.optimizer.learning_rate.peak == pytest.approx(8e-4)
    assert (config.optimizer.learning_rate.warmup, config.train.epochs) == (0.05, 400)
    assert config.objective.mask.ratio == ratio
    assert config.parts.predictor.to_dict() == crops.parts.predictor.to_dict()
    assert (config.parts.encoder.depth, config.parts.tokenizer.width) == (12, 384)
  assert (crops.data.augment.outer, crops.data.augment.inner) == ((0.1, 1.0), (0.3, 0.6))
  assert (pairs.data.augment.scale, pairs.data.augment.flip) == ((0.5, 1.0), True)
  sample = pairs.data.train.sample
  assert (sample.part, sample.low, sample.high) == ("mim_jax.data.video.frames.pair", 4, 47)
  predictor = crops.parts.predictor
  assert (predictor.width, predictor.depth, predictor.heads, predictor.hidden) == (256, 4, 8, 2048)


def test_arguments_that_cannot_be_are_explained():
  with pytest.raises(errors.InputError, match="dataset, of clips: 'imagenet2012' is unknown"):
    config_lib.get_config("videomae", "dataset=imagenet2012")
  with pytest.raises(errors.InputError, match="views: 'frame' is unknown; did you mean 'frames'"):
    config_lib.get_config("cropmae", "views=frame")


@pytest.mark.parametrize(
  ("method", "more", "source"),
  [
    ("videomae", "", "moving.moving_arrays"),
    ("cropmae", ",views=frames", "moving.moving_arrays"),
    ("multimae", "", "pseudo.arrays_with_maps"),
  ],
)
def test_what_a_method_needs_is_made_of_arrays(method, more, source):
  c = config_lib.get_config(method, f"dataset=arrays,path=own.npz,size=nano,image=48{more}")
  for split in ("train", "test"):
    node = c.data[split]
    assert (node.part, node.path, node.split) == (f"mim_jax.data.{source}", "own.npz", split)


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
