"""Rates: of the steps alone, whenever their line is written."""

import types

import numpy as np
import pytest

from mim_jax.monitor import goodput, metrics


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
