"""What every config says it costs is what XLA counts, so that no method does hidden work."""

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib

pytestmark = pytest.mark.slow
BATCH = 16  # the optimizer's work is shared by this many images


def counted(config):
  """FLOPs an image of the lowered, not compiled, update."""
  config.train.update(dict(batch_size=BATCH, steps=10, epochs=None))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  rows = experiment.spec.data.train[np.arange(BATCH)]
  batch = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in rows.items()}
  lowered = jax.jit(experiment.trainable.update).lower(experiment.trainable.abstract_state(), batch)
  return lowered.cost_analysis()["flops"] / BATCH


@pytest.mark.parametrize("method", config_lib.names())
def test_the_cost_at_size_b_is_what_xla_counts(method):
  """On the embedded images enlarged to 224 pixels: their source is there for every method."""
  config = config_lib.get_config(method, "size=B,dataset=digits,image=224")
  said = config_lib.flops(config)
  assert said is not None, f"configs/{method}.py has no flops(config)"
  assert said == pytest.approx(counted(config), rel=0.03)
  assert said > 1e9


@pytest.mark.parametrize(
  ("size", "published"), [("S", 39.0), ("B", 58.7), ("L", 124.5), ("H", 291.4)]
)
def test_mae_costs_what_its_config_says(size, published):
  config = config_lib.get_config("mae", f"size={size}")
  assert config_lib.flops(config) / 1e9 == pytest.approx(published, rel=0.005)
