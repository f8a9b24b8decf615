"""Out of memory, on device or host: found before the first step, or caught; with what would fit."""

import pathlib
import sys

import jax
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.devices import program
from mim_jax.errors import InputError

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs


@pytest.fixture(scope="module")
def compiled():
  config = config_lib.get_config(str(runs.QUICK))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  batch = next(experiment.spec.batches())
  return experiment.trainable, program.compile_update(
    experiment.trainable, experiment.trainable.abstract_state(), batch
  )


def test_a_batch_too_large_for_the_device_names_one_that_fits(compiled):
  trainable, update = compiled
  need = program.memory(update)
  assert need["state"] > 50_000 and need["work"] > 0
  program.check_memory(trainable, update, need["state"] + need["work"])
  program.check_memory(trainable, update, None)
  with pytest.raises(InputError) as error:
    program.check_memory(trainable, update, need["state"] + need["work"] // 2)
  assert "train.batch_size: 16 samples need" in str(error.value)
  assert "A batch of about 8 would fit: --config.train.batch_size=8" in str(error.value)
  with pytest.raises(InputError, match="state alone is too large: split.*mesh.fsdp=-1"):
    program.check_memory(trainable, update, need["state"])


@pytest.mark.parametrize("known", [True, False])
def test_a_device_that_runs_out_is_told_with_remedies(compiled, known, monkeypatch):
  trainable, update = compiled
  need = program.memory(update)
  limit = need["state"] + need["work"] // 2 if known else None
  monkeypatch.setattr(program, "memory_limit", lambda mesh: limit)
  with pytest.raises(InputError, match="would fit" if known else "could not give 2.5GiB.*half"):
    with program.telling_memory(trainable, update):
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2.5GiB")


def test_other_errors_stay_what_they_are(compiled):
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    with program.telling_memory(*compiled):
      raise jax.errors.JaxRuntimeError("INTERNAL: something")


def test_a_host_that_runs_out_is_told_with_remedies(compiled):
  with pytest.raises(InputError, match="host is out of memory.*train.threads=1"):
    with program.telling_memory(*compiled):
      raise MemoryError
