"""Meshes: the same samples and losses on any number of devices, also where it changes at resume."""

import pathlib
import sys

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.checkpoint import store
from mim_jax.devices import program
from mim_jax.errors import InputError
from mim_jax.optim import rules
from mim_jax.train import loop

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs


def built(devices, method="", **axes):
  """The quick MAE, or a method of size S with two blocks."""
  config = config_lib.get_config(str(runs.QUICK))
  if method:
    config = config_lib.get_config(method, "dataset=digits,size=S")
    for part in config.parts.values():
      if "depth" in part:
        part.depth = 2
  config.train.update(dict(steps=8, batch_size=16, log_every=1, checkpoint_every=2))
  config.train.mesh.update(axes)
  return experiment_lib.build(config, devices=jax.devices()[:devices])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
  path = tmp_path_factory.mktemp("one")
  loop.train(built(1).trainable, path)
  return path


def same_story(one, other):
  """Losses within what another order of sums makes of them."""
  first, second = runs.lines(one), runs.lines(other)
  assert [line["step"] for line in first] == [line["step"] for line in second]
  for key in ("loss", "gradient_norm"):
    np.testing.assert_allclose(
      [line[key] for line in second], [line[key] for line in first], rtol=2e-5
    )
  assert position(one) == position(other) == {"next_batch": 8}


def position(folder):
  """Where in the data the last checkpoint stands."""
  with store.Checkpoints(folder / "checkpoints") as saves:
    return saves.extra()["data"]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("devices", "axes"),
  [(2, dict(data=1, fsdp=2)), (4, dict(data=2, tensor=2)), (8, dict(data=2, fsdp=2, tensor=2))],
)
def test_any_number_of_devices_gives_the_losses_of_one(tmp_path, one, devices, axes):
  loop.train(built(devices, **axes).trainable, tmp_path)
  same_story(one, tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(tmp_path, one):
  for devices, fsdp, stop in ((1, 1, 2), (8, 8, 4), (2, 1, 6), (4, 2, None)):
    loop.train(built(devices, fsdp=fsdp).trainable, tmp_path, stop_at=stop)
  same_story(one, tmp_path)


@pytest.mark.slow
def test_fsdp_divides_parameters_optimizer_and_teacher():
  """Arguments of the compiled step on one device: within 10 % of an eighth of the state."""
  experiment = built(8, "ijepa", data=1, fsdp=8)
  state = experiment.trainable.abstract_state()
  update = program.compile_update(experiment.trainable, state, next(experiment.spec.batches()))
  sizes = [
    sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(t)) for t in (state.teacher, state)
  ]
  assert sizes[0] > 10e6 and sizes[1] > 50e6
  assert program.memory(update)["state"] < 1.1 * sizes[1] / 8


@pytest.mark.parametrize("method", ["mae", "ibot", "capi", "ijepa"])
@pytest.mark.parametrize("axes", [dict(data=1, fsdp=8), dict(data=1, fsdp=4, tensor=2)])
def test_the_state_is_divided_evenly_whatever_it_is_made_of(method, axes):
  """iBOT's codes alone are more than its encoder."""
  state = built(8, method, **axes).trainable.abstract_state()
  sizes = {
    n: (x.size * x.dtype.itemsize, np.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize)
    for n, x in rules.named_leaves(state)
  }
  whole, held = (sum(size[i] for size in sizes.values()) for i in (0, 1))
  largest = sorted(sizes, key=lambda n: -sizes[n][1])[:3]
  assert held < 1.1 * whole / 8, {n: sizes[n] for n in largest}


def test_an_uneven_batch_is_refused_with_sizes_that_fit():
  config = config_lib.get_config(str(runs.QUICK))
  config.train.batch_size = 20
  with pytest.raises(InputError, match=r"20 does not divide over 8 devices.*that fit: 16, 24\."):
    experiment_lib.build(config)
