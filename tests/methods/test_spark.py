"""SparK's recipe as published, and the choice of its network."""

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.errors import InputError


def spark(arg):
  return config_lib.get_config("spark", arg)


def test_schedules_step_by_step():
  config = spark("size=B")
  rate, decay = (config_lib.build(config.optimizer[k]) for k in ("learning_rate", "weight_decay"))
  peak, warmup = 3.2e-3, 40 / 1600
  for progress, expected in ((0, 0.005), (warmup / 2, 0.5025), (warmup, 1.0), (1, 0.001)):
    np.testing.assert_allclose(rate(progress), peak * expected, rtol=1e-5)
  half = warmup + (1 - warmup) / 2
  np.testing.assert_allclose(rate(half), peak * (1 + 0.001) / 2, rtol=1e-4)
  for progress, expected in ((0, 0.04), (0.5, 0.12), (1, 0.2)):  # no warm-up
    np.testing.assert_allclose(decay(progress), expected, rtol=1e-5)


def test_the_rate_follows_the_batch():
  config = spark("size=B")
  config.train.batch_size = 1024
  assert config.optimizer.learning_rate.peak == pytest.approx(8e-4)
  assert config.optimizer.learning_rate.start == pytest.approx(0.005 * 8e-4)


def test_published_settings():
  residual, next_ = spark("network=resnet50"), spark("size=B")
  assert (residual.optimizer.b2, next_.optimizer.b2) == (0.95, 0.999)
  assert (residual.parts.encoder.drop_path, next_.parts.encoder.drop_path) == (0.05, 0.3)
  assert (residual.parts.predictor.norm, next_.parts.predictor.norm) == ("batch", "layer")
  for config in (residual, next_):
    assert config.optimizer.part == "mim_jax.optim.lamb"
    assert (config.optimizer.clip, config.optimizer.epsilon) == (5.0, 1e-6)
    assert config.data.augment.scale == (0.67, 1.0)
    assert (config.patch, config.parts.predictor.width) == (32, 768)
    assert (config.train.epochs, config.train.batch_size) == (1600, 4096)


def test_the_patch_moves_with_the_network():
  small = lambda arg: spark(f"dataset=folder,path=x,size=tiny,{arg}").parts.encoder
  assert (small("image=64").patch, len(small("image=64").depths)) == (8, 4)
  assert (small("image=64,patch=4").patch, len(small("image=64,patch=4").depths)) == (4, 3)
  kinds = [small(f"network={n}").part.rpartition(".")[2] for n in ("convnext_t", "resnet101")]
  assert kinds == ["ConvNeXt", "ResNet"]
  assert len(spark("dataset=digits").parts.encoder.depths) == 3


@pytest.mark.parametrize("arg", ["size=H", "network=resnet5"])
def test_an_unknown_network_is_refused_with_those_there_are(arg):
  with pytest.raises(InputError, match=r"network.*did you mean.*convnext_b.*resnet50"):
    spark(arg)


@pytest.mark.parametrize("network", ["resnet50", "convnext_t"])
def test_the_first_loss_is_that_of_predicting_nothing(network):
  """Targets have the unbiased variance 1, so squares of 16 values average to 15/16."""
  config = spark(f"dataset=digits,size=nano,network={network}")
  config.train.batch_size = 8
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  state = experiment.trainable.init(jax.random.key(0))
  noise = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8)
  batch = dict(next(experiment.spec.batches()), image=noise)
  loss, _ = jax.jit(experiment.trainable.loss)(state.params, batch, 0, state.teacher, state.stats)
  assert float(loss) == pytest.approx(15 / 16, rel=0.02)
