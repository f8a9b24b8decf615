"""A run that hangs says where and ends; where the time went is written down."""

import pathlib
import subprocess
import sys
import time

import pytest

from mim_jax.monitor import goodput, metrics, watchdog

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

# The sixth batch never comes: what a dead network disk looks like.
HANG = """
import sys, time
from mim_jax.data import pipeline
real = pipeline.Batches.__next__
def stuck_reader(self):
  if self._next == 5:
    time.sleep(1000)
  return real(self)
pipeline.Batches.__next__ = stuck_reader
from mim_jax.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_no_step_for_a_while_dumps_all_stacks_and_ends_the_run(tmp_path):
  words = ["train", f"--config={runs.QUICK}", f"--workdir={tmp_path}"]
  done = subprocess.run(
    [sys.executable, "-c", HANG, *words, "--config.train.watchdog=20"],
    capture_output=True,
    text=True,
    env=runs.environment(),
    cwd=runs.ROOT,
    timeout=600,
    check=False,
  )
  assert done.returncode == watchdog.EXIT == 3, done.stderr
  assert "watchdog: no step for 2" in done.stderr
  assert "(train.watchdog=20)" in done.stderr
  assert "The last checkpoint stands: the same command continues" in done.stderr
  assert "in stuck_reader" in done.stderr  # the stack of the thread that hangs
  assert (tmp_path / "checkpoints" / "3").is_dir()


def test_steps_and_the_end_keep_the_watchdog_quiet(tmp_path):
  with (tmp_path / "told").open("w") as file:
    with watchdog.watching(0.4, file) as heartbeat:
      for _ in range(8):
        time.sleep(0.1)
        heartbeat.step()
    with watchdog.watching(0, file):
      pass
    time.sleep(0.6)
  assert (tmp_path / "told").read_text() == ""


def test_the_clock_counts_every_second_once(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(goodput.time, "monotonic", lambda: now[0])
  clock = goodput.Clock()

  def wait(seconds):
    now[0] += seconds

  wait(1)
  with clock.during("compile"):
    wait(2)
  clock.turn("steps")
  wait(10)
  with clock.during("data"):
    wait(3)
    with clock.during("save"):
      wait(4)
  assert clock.read() == dict(start=1, compile=2, data=3, save=4, evaluate=0, steps=10)
  assert clock.goodput() == 0.5
  again = goodput.Clock()  # another call of the same run
  again.add(clock.read())
  wait(20)
  assert again.read()["start"] == 21 and again.goodput() == 0.25


@pytest.mark.slow
def test_a_run_says_where_its_time_went(tmp_path):
  import json

  runs.finish(runs.start(tmp_path))
  lines = metrics.read(tmp_path / "metrics.jsonl")
  assert all(0 < line["goodput"] < 1 for line in lines)
  for kind in ("start", "compile", "data", "save"):
    lost = [line[f"seconds_{kind}"] for line in lines]
    assert lost == sorted(lost) and lost[-1] > 0
  cost = json.loads((tmp_path / "results.json").read_text())["cost"]
  assert 0 < cost["goodput"] < 1
  assert set(cost["seconds"]) == {"start", "compile", "data", "save", "train", "evaluate"}
  assert all(seconds >= 0 for seconds in cost["seconds"].values())
  assert "of all time in steps" in (tmp_path / "report.html").read_text()
