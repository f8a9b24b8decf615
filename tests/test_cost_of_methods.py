"""What every config says it costs is what XLA counts, so that no method does hidden work."""

import importlib.util

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib

BATCH = 16  # the optimizer's work is shared by this many images
METHODS = config_lib.names()


def config_module(method):
  """The config file itself; `get_config` gives only what it makes."""
  path = config_lib.folder() / f"{method}.py"
  spec = importlib.util.spec_from_file_location(f"cost_of_{method}", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


WITH_FLOPS = [method for method in METHODS if hasattr(config_module(method), "flops")]


def counted(config):
  """FLOPs an image of the lowered, not compiled, update."""
  config.train.update(dict(batch_size=BATCH, steps=10, epochs=None))
  experiment = experiment_lib.Experiment(config, devices=jax.devices()[:1])
  rows = experiment.data.train[np.arange(BATCH)]
  batch = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in rows.items()}
  lowered = jax.jit(experiment.update).lower(experiment.abstract_state(), batch)
  return lowered.cost_analysis()["flops"] / BATCH


def test_every_config_says_what_it_costs():
  assert sorted(set(METHODS) - set(WITH_FLOPS)) == []


@pytest.mark.parametrize("method", WITH_FLOPS)
def test_the_cost_at_size_b_is_what_xla_counts(method):
  """On the embedded images enlarged to 224 pixels: their source is there for every method."""
  config = config_module(method).get_config("size=B,dataset=digits,image=224")
  said = config_module(method).flops(config)
  assert said == pytest.approx(counted(config), rel=0.03)
  assert said > 1e9


@pytest.mark.parametrize(
  ("size", "published"), [("S", 39.0), ("B", 58.7), ("L", 124.5), ("H", 291.4)]
)
def test_mae_costs_what_its_config_says(size, published):
  config = config_lib.get_config("mae", f"size={size}")
  assert config_module("mae").flops(config) / 1e9 == pytest.approx(published, rel=0.005)
