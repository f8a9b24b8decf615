"""SIGKILL at any moment: the same command goes on, and ends with the bits of an unbroken run.

`KILLS=100 pytest tests/faults/test_kill.py` is the nightly form; `KILL_SEED` chooses the moments.
"""

import os
import pathlib
import random
import signal
import sys
import time

import pytest

from mim_jax.monitor import metrics

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("KILL_SEED", "0"))
STEPS = max(24, 2 * KILLS)  # a kill costs at most what was not saved
WORDS = (
  f"--config.train.steps={STEPS}",
  "--config.train.checkpoint_every=2",
  "--config.train.log_every=1",
)
# Python calls this hook before every file operation; number N of those on checkpoints is its last.
HOOK = """
import os, signal, sys
left = int(os.environ.get("KILL_AT", "0"))
def hook(event, arguments):
  global left
  if left and event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
    if "/checkpoints/" in str(arguments[0]) + "/" or "metrics." in str(arguments[0]):
      left -= 1
      if not left:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
  """A run that nothing interrupted."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  runs.finish(runs.start(folder, *WORDS, cache=cache))
  return folder


def killed_at_a_file_operation(folder, cache, chance, hook):
  number = str(chance.randrange(1, 250))
  process = runs.start(folder, *WORDS, cache=cache, PYTHONPATH=str(hook), KILL_AT=number)
  process.communicate(timeout=600 * runs.PATIENCE)
  return process.returncode


def killed_at_a_time(folder, cache, chance):
  """Some steps and some milliseconds after it began, or while it starts."""
  process = runs.start(folder, *WORDS, cache=cache)
  before = len(metrics.read(folder / "metrics.jsonl"))
  steps, rest = chance.randrange(-1, 3), chance.uniform(0.0, 0.4)
  deadline = time.monotonic() + (600 * runs.PATIENCE if steps >= 0 else chance.uniform(0.5, 3.0))
  while process.poll() is None and time.monotonic() < deadline:
    now = len(metrics.read(folder / "metrics.jsonl"))
    if now < before:  # what came after the checkpoint was dropped
      before = now
    if steps >= 0 and now > before + steps:
      break
    time.sleep(0.005)
  time.sleep(rest)
  process.send_signal(signal.SIGKILL)
  process.communicate(timeout=60 * runs.PATIENCE)
  return process.returncode


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path, whole, cache):
  hook, folder = tmp_path / "hook", tmp_path / "run"
  hook.mkdir()
  (hook / "sitecustomize.py").write_text(HOOK)
  chance, kills = random.Random(SEED), 0
  for turn in range(KILLS):
    if turn % 2:
      code = killed_at_a_file_operation(folder, cache, chance, hook)
    else:
      code = killed_at_a_time(folder, cache, chance)
    assert code in (0, -signal.SIGKILL), f"turn {turn}: exit code {code}"
    kills += code != 0
    steps = [line["step"] for line in metrics.read(folder / "metrics.jsonl")]
    assert steps == list(range(1, len(steps) + 1)), f"turn {turn}"
  assert kills >= KILLS // 2
  runs.finish(runs.start(folder, *WORDS, cache=cache))
  runs.same_run(folder, whole)
  assert (folder / "report.html").exists()


def wait_for_lines(folder, count):
  deadline = time.monotonic() + 600 * runs.PATIENCE
  while len(metrics.read(folder / "metrics.jsonl")) < count and time.monotonic() < deadline:
    time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_saves_and_says_so(tmp_path, whole, cache, number):
  process = runs.start(tmp_path, *WORDS, cache=cache)
  wait_for_lines(tmp_path, 3)
  process.send_signal(number)
  output, _ = runs.finish(process, 128 + number)
  step = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
  assert f"{number.name}: finishing this step, then saving. Once more exits at once." in output
  assert f"stopped at step {step}, saved; the same command goes on from there." in output
  runs.finish(runs.start(tmp_path, *WORDS, cache=cache))
  runs.same_run(tmp_path, whole)


SLOW_STEP = """
import signal, time, pathlib, sys
from mim_jax.monitor import metrics
from mim_jax.train import signals
with signals.graceful_stop() as asked:
  pathlib.Path(sys.argv[1]).touch()
  time.sleep(60)
  time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_exits_at_once(tmp_path, number):
  import subprocess

  ready = tmp_path / "ready"
  process = subprocess.Popen(
    [sys.executable, "-c", SLOW_STEP, str(ready)],
    stderr=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    env=runs.environment(),
    cwd=runs.ROOT,
  )
  while not ready.exists() and process.poll() is None:
    time.sleep(0.01)
  process.send_signal(number)
  assert f"{number.name}: finishing" in process.stdout.readline() + process.stdout.readline()
  began = time.monotonic()
  process.send_signal(number)
  _, trouble = process.communicate(timeout=30)
  assert process.returncode == 128 + number
  assert time.monotonic() - began < 10
  assert f"{number.name} again: exiting at once; the last checkpoint stands." in trouble
  assert "Traceback" not in trouble
