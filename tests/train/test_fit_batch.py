"""The batch follows the data where there are too few for the recipe's, and nobody asked for it."""

import json

import jax
import pytest

from mim_jax import experiment as experiment_lib
from mim_jax import run
from mim_jax.checkpoint import store
from mim_jax.cli import arguments
from mim_jax.errors import InputError
from mim_jax.train import loop

SPEC = "mae:dataset=digits,size=nano"
FEW = "--config.data.train.split=train[:24]"  # the recipe's batch is 256


def a_config(*words, spec=SPEC):
  config = arguments.config(spec, [FEW, "--config.train.log_every=1", *words])
  config.evaluations = dict(seeds=1, baselines=())
  return config


def test_the_batch_that_is_found_is_written_and_found_again(tmp_path, capsys):
  path = tmp_path / "run"
  run.run(a_config("--config.train.steps=2"), path)
  assert "batch of 16, not 256: there are no more than 24 to train on" in capsys.readouterr().out
  written = json.loads((path / "config.json").read_text())["train"]
  assert (written["batch_size"], written["fit_batch"]) == (16, False)
  facts = run.run(a_config("--config.train.steps=4"), path)
  assert (facts["start"], facts["step"]) == (2, 4)
  again = json.loads((path / "config.json").read_text())["train"]
  assert again == written | {"steps": 4}
  with store.Checkpoints(path / "checkpoints", writes=False) as saves:
    extra = saves.extra()
  assert (extra["samples"], extra["data"]) == (24, {"next_batch": 4})


def test_the_rates_follow_the_batch():
  """As if the batch had been asked for."""
  built = experiment_lib.build(a_config(), devices=jax.devices()[:1])
  asked = a_config("--config.train.batch_size=16")
  found = built.spec.config.optimizer.learning_rate.peak
  assert found == pytest.approx(asked.optimizer.learning_rate.peak)
  assert found < a_config().optimizer.learning_rate.peak
  assert next(built.spec.batches())["image"].shape[0] == 16


@pytest.mark.parametrize(
  ("spec", "words"),
  [(SPEC, ["--config.train.batch_size=256"]), (f"{SPEC},batch_size=256", [])],
)
def test_who_asks_for_a_batch_gets_it_or_an_error(spec, words, tmp_path):
  experiment = experiment_lib.build(a_config(*words, spec=spec), devices=jax.devices()[:1])
  assert experiment.spec.config.train.batch_size == 256
  with pytest.raises(InputError, match="has 24 .*, fewer than one batch of 256"):
    loop.train(experiment.trainable, tmp_path)


def test_enough_data_leave_the_config_as_it_was():
  config = arguments.config(SPEC, [])
  before = config.to_json()
  after = experiment_lib.build(config, devices=jax.devices()[:1]).spec.config.to_json()
  assert json.loads(after)["train"].pop("fit_batch") is False
  assert json.loads(before)["train"]["fit_batch"] is True
  assert after == before.replace('"fit_batch": true', '"fit_batch": false')
