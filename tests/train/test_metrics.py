"""Rates: of the steps alone, whenever their line is written."""

import json
import types

import numpy as np
import pytest

from mim_jax.monitor import goodput, metrics
from mim_jax.report import runs


@pytest.fixture
def now(monkeypatch):
  seconds = [100.0]
  monkeypatch.setattr(metrics, "time", types.SimpleNamespace(monotonic=lambda: seconds[0]))
  monkeypatch.setattr(goodput, "time", types.SimpleNamespace(monotonic=lambda: seconds[0]))
  return seconds


def test_samples_a_second_know_neither_saves_nor_evaluations(tmp_path, now):
  """Ten steps of 8 samples in 2 s, always; lines are written late, before a save, or a probe."""
  clock = goodput.Clock()
  measured = dict(loss=np.float32(1), gradient_norm=np.float32(1), bad_step=np.int32(-1))
  settings = types.SimpleNamespace(batch_size=8)
  with metrics.Meter(tmp_path, 0, 60, settings, clock) as meter:
    for step in range(10, 70, 10):
      now[0] += 2.0
      meter.advance(step, measured)
      meter.log(step, measured)
      if step == 30:
        meter.flush()
      if step in (40, 50):
        with clock.during("evaluate"):
          now[0] += 1000.0
          meter.probe(step, {"eval/knn_accuracy": 0.5})
  lines = metrics.read(tmp_path / "metrics.jsonl")
  rates = {x["step"]: x["samples_per_second"] for x in lines if "loss" in x}
  assert rates.pop(10) == 20  # written when the second was logged: known no better
  assert rates == dict.fromkeys((20, 30, 40, 50, 60), 40)
  assert [x["step"] for x in lines if "eval/knn_accuracy" in x] == [40, 50]


OLD = [
  {"step": 1, "loss": 2.5, "images_per_second": 306.5, "seconds": 0.1},
  {"step": 2, "loss": 2.25, "images_per_second": 337.0, "seconds": 0.2},
]


def test_metrics_of_the_first_edition_are_read_by_the_names_of_today(tmp_path):
  for name in "ab":
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(seed=ord(name))))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in OLD))
    cost = dict(images_per_second=321.75, flops_per_image=1e6)
    (folder / "results.json").write_text(json.dumps(dict(cost=cost)))
  found = metrics.read(tmp_path / "a" / "metrics.jsonl")
  assert [line["samples_per_second"] for line in found] == [306.5, 337.0]
  assert all("images_per_second" not in line for line in found)
  (group,) = runs.read([tmp_path / "a", tmp_path / "b"])
  for run in group.runs:
    assert run.lines == found
    assert run.rate == 321.75
    assert "samples_per_second" in runs.logged(run.lines)


def test_a_resumed_run_writes_lines_of_the_first_edition_by_the_names_of_today(tmp_path):
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in OLD))
  with metrics.Meter(tmp_path, 1, 60, types.SimpleNamespace(batch_size=8)):
    pass
  (line,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
  assert line == {"step": 1, "loss": 2.5, "samples_per_second": 306.5, "seconds": 0.1}
