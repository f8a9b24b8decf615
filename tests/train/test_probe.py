"""Evaluations while training: they change nothing, are written once, and may fail."""

import pathlib

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax import run
from mim_jax.errors import InputError
from mim_jax.monitor import goodput, metrics, probe, watchdog
from mim_jax.optim import rules
from mim_jax.train import loop


@pytest.fixture(scope="module")
def experiment():
  """16 steps, of which every fourth is to be evaluated; checkpoints elsewhere."""
  c = config_lib.get_config("mae", "dataset=digits,size=nano")
  every = 4 * 16 / 1438
  c.train.update(steps=16, batch_size=16, log_every=3, checkpoint_every=6, probe_every=every)
  c.train.probe = ("knn",)
  return experiment_lib.build(c, devices=jax.devices()[:1])


def lines(folder: pathlib.Path, evaluated: bool):
  found = metrics.read(folder / "metrics.jsonl")
  found = [{k: v for k, v in line.items() if k not in metrics.TIMING} for line in found]
  return [line for line in found if any(k.startswith(metrics.EVAL) for k in line) == evaluated]


@pytest.fixture(scope="module")
def without(experiment, tmp_path_factory):
  folder = tmp_path_factory.mktemp("without")
  state, _ = loop.train(experiment.trainable, folder)
  return folder, dict(rules.named_leaves(jax.device_get(state)))


@pytest.fixture(scope="module")
def probed(experiment, tmp_path_factory):
  """A run with the probe of `mim-jax train`, its batches held to go on being read in one piece."""
  folder = tmp_path_factory.mktemp("probed")
  state, facts = loop.train(experiment.trainable, folder, probe=run.probe(experiment))
  return folder, dict(rules.named_leaves(jax.device_get(state))), facts


def test_a_run_with_a_probe_has_the_bits_and_the_lines_of_one_without(without, probed):
  assert without[1].keys() == probed[1].keys()
  for name in without[1]:
    np.testing.assert_array_equal(without[1][name], probed[1][name], err_msg=name)
  assert lines(without[0], evaluated=False) == lines(probed[0], evaluated=False)
  assert lines(without[0], evaluated=True) == []


def test_the_state_is_evaluated_at_the_start_every_so_often_and_at_the_end(probed):
  found = lines(probed[0], evaluated=True)
  assert [line["step"] for line in found] == [0, 4, 8, 12, 16]
  accuracy = [line["eval/knn_accuracy"] for line in found]
  assert all(0.1 < value < 1 for value in accuracy)
  assert len(set(accuracy)) > 1  # of the parameters of each step


def test_its_time_is_accounted_for(probed):
  assert probed[2]["seconds"]["evaluate"] > 0
  assert set(probed[2]["seconds"]) == set(goodput.KINDS)


def test_a_run_stopped_anywhere_tells_the_same_story(experiment, probed, tmp_path):
  for stop in (8, 9, None):
    state, _ = loop.train(experiment.trainable, tmp_path, stop_at=stop, probe=run.probe(experiment))
  assert metrics.read(tmp_path / "metrics.jsonl")[0]["step"] == 0
  for evaluated in (True, False):
    assert lines(tmp_path, evaluated) == lines(probed[0], evaluated)
  for name, leaf in rules.named_leaves(jax.device_get(state)):
    np.testing.assert_array_equal(leaf, probed[1][name], err_msg=name)


def test_one_that_fails_leaves_training_untouched_and_says_so_once(
  experiment, without, tmp_path, capfd
):
  def broken():
    raise ValueError("no such luck")

  def make(state):
    if int(state.step) == 12:
      raise MemoryError("none left")
    return {"broken": broken, "sound": lambda: {"number": 2.5}}

  state, _ = loop.train(experiment.trainable, tmp_path, probe=make)
  for name, leaf in rules.named_leaves(jax.device_get(state)):
    np.testing.assert_array_equal(leaf, without[1][name], err_msg=name)
  assert lines(tmp_path, evaluated=False) == lines(without[0], evaluated=False)
  found = [{"step": step, "eval/sound_number": 2.5} for step in (0, 4, 8, 16)]
  assert lines(tmp_path, evaluated=True) == found
  said = capfd.readouterr().err
  assert (
    said.count("step 0: evaluation broken failed: ValueError: no such luck. Training continues")
    == 1
  )
  assert said.count("no such luck") == 1
  assert "step 12: the in-training evaluations failed: MemoryError: none left" in said


def test_the_batches_that_are_read_ahead_stay(experiment, tmp_path, monkeypatch):
  """The iterator is never set back or rebuilt between the first step and the last."""
  opened = []
  make = experiment.spec.batches
  monkeypatch.setattr(
    experiment.spec, "batches", lambda: opened.append(make()) or opened[-1], raising=True
  )
  seen = []

  def look(state):
    seen.append(opened[0]._reader)
    return {}

  loop.train(experiment.trainable, tmp_path, probe=look)
  assert len(opened) == 1 and len(seen) == 5
  assert len({id(reader) for reader in seen}) == 1


def test_a_name_that_is_no_evaluation_and_a_negative_interval_are_refused(experiment, monkeypatch):
  c = config_lib.get_config("mae", "dataset=digits,size=nano")
  c.train.probe = ("kmn",)
  assert run.probe(experiment_lib.build(c, devices=jax.devices()[:1])) is None
  c.train.probe_every = 1.0
  with pytest.raises(InputError, match="train.probe: 'kmn' is unknown; did you mean 'knn'"):
    run.probe(experiment_lib.build(c, devices=jax.devices()[:1]))
  with pytest.raises(
    InputError, match=r"probe_every: -1 epochs, but it must be 0 \(never\) or more"
  ):
    probe.interval(-1, 100, 10)
  assert [probe.interval(x, 1000, 100) for x in (0, 0.001, 0.5, 2)] == [0, 1, 5, 20]


def test_the_watchdog_rests_while_the_state_is_evaluated():
  with watchdog.watching(0) as heartbeat:
    with heartbeat.resting():
      assert heartbeat.last == float("inf")
    assert heartbeat.last < float("inf")
