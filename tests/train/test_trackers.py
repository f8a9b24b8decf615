"""TensorBoard and Weights & Biases: off by default, and never in the way."""

import json
import sys
import types

import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax.monitor import metrics, trackers


class Fake:
  """Stands for the module wandb: remembers what it was asked."""

  def __init__(self, fails=()):
    self.asked, self.logged, self.finished, self._fails = [], [], 0, fails

  def init(self, **settings):
    self._maybe("init")
    self.asked.append(settings)
    return self

  def log(self, numbers, step):
    self._maybe("log")
    self.logged.append((step, numbers))

  def finish(self):
    self.finished += 1

  def _maybe(self, name):
    if name in self._fails:
      raise RuntimeError(f"{name}: no network\nlong story")


def metered(folder, **settings):
  """A run of two logged steps: the lines in metrics.jsonl."""
  measured = dict(loss=np.float32(1), gradient_norm=np.float32(1), bad_step=np.int32(-1))
  settings = types.SimpleNamespace(batch_size=8, **settings)
  with metrics.Meter(folder, 0, 2, settings) as meter:
    for step in (1, 2):
      meter.advance(step, measured)
      meter.log(step, measured)
      meter.probe(step, {"eval/knn_accuracy": 0.5})
  return metrics.read(folder / "metrics.jsonl")


def test_both_are_one_entry_of_the_config_and_off_by_default(tmp_path):
  train = config_lib.get_config("mae").train
  assert train.tensorboard is False and train.wandb == ""
  assert len(metered(tmp_path)) == 4
  assert {x.name for x in tmp_path.iterdir()} == {"metrics.jsonl"}


def test_tensorboard_writes_events(tmp_path, capsys):
  metered(tmp_path, tensorboard=True)
  (file,) = tmp_path.glob("events.out.tfevents.*")
  assert b"train/loss" in file.read_bytes() and b"eval/knn_accuracy" in file.read_bytes()
  assert "warning" not in capsys.readouterr().err


def test_wandb_gets_config_and_numbers_and_a_resumed_run_goes_on(tmp_path, monkeypatch):
  fake = Fake()
  monkeypatch.setitem(sys.modules, "wandb", fake)
  (tmp_path / "config.json").write_text('{"seed": 3}')
  metered(tmp_path, wandb="digits")
  metered(tmp_path, wandb="digits")
  first, second = fake.asked
  assert first == second
  assert first["project"] == "digits" and first["name"] == tmp_path.name
  assert first["config"] == {"seed": 3} and first["resume"] == "allow"
  assert first["id"] == json.loads((tmp_path / "wandb.json").read_text())["id"]
  step, numbers = fake.logged[0]
  assert step == 1 and numbers["train/loss"] == 1.0
  assert fake.logged[1] == (1, {"train/step": 1, "eval/knn_accuracy": 0.5})
  assert fake.finished == 2


def test_a_missing_wandb_is_one_warning_with_the_remedy(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "wandb", None)  # so that importing it fails
  assert len(metered(tmp_path, wandb="digits")) == 4
  shown = capsys.readouterr().err
  assert shown.count("warning: wandb is disabled") == 1
  assert "pip install wandb" in shown and "Training continues" in shown


@pytest.mark.parametrize("when", ["init", "log"])
def test_a_wandb_that_raises_is_switched_off_with_one_warning(tmp_path, monkeypatch, capsys, when):
  monkeypatch.setitem(sys.modules, "wandb", Fake(fails=[when]))
  assert len(metered(tmp_path, wandb="digits", tensorboard=True)) == 4
  shown = capsys.readouterr().err
  assert shown.count("warning: ") == 1
  assert f"RuntimeError: {when}: no network. Training continues" in shown
  assert list(tmp_path.glob("events.out.tfevents.*"))  # the other one is untouched


def test_what_fails_while_closing_does_not_end_a_run(capsys, tmp_path):
  opened = trackers.Trackers(tmp_path, 0, types.SimpleNamespace(tensorboard=True))
  opened._open["tensorboard"].close = lambda: 1 / 0
  opened.close()
  assert "ZeroDivisionError" in capsys.readouterr().err
