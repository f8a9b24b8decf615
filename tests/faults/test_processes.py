"""Several processes on one host as one run: losses of one process, one writer, nobody left hanging.

`NIGHTLY=1 pytest tests/faults/test_processes.py` runs all of it, `PATIENCE=10` on a machine that is
ten times as slow as it should be.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from mim_jax.cli import main as cli
from mim_jax.devices import distributed
from mim_jax.errors import InputError, RunError
from mim_jax.monitor import metrics

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

# Several processes on two cores take minutes, and most of them waiting.
nightly = pytest.mark.skipif("NIGHTLY" not in os.environ, reason="NIGHTLY=1 runs it")
WORDS = (
  "--config.train.steps=300",  # long enough to be killed in the middle
  "--config.train.checkpoint_every=10",
  "--config.train.log_every=1",
)
AXES = {
  2: ("--config.train.mesh.data=1", "--config.train.mesh.fsdp=2"),
  4: ("--config.train.mesh.data=2", "--config.train.mesh.fsdp=2"),
}


def start(workdir, *words, count=2, cache=None):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  return [
    runs.start(
      workdir,
      *WORDS,
      *AXES[count],
      *words,
      cache=cache,
      JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
      JAX_NUM_PROCESSES=str(count),
      JAX_PROCESS_ID=str(index),
    )
    for index in range(count)
  ]


def finish(processes, code=0):
  """What each of the processes printed; none of them is left behind."""
  try:
    return [runs.finish(p, code) for p in processes]
  finally:
    for process in processes:
      process.kill()


def wait_for_lines(folder, count):
  deadline = time.monotonic() + 300 * runs.PATIENCE
  while len(metrics.read(folder / "metrics.jsonl")) < count and time.monotonic() < deadline:
    time.sleep(0.02)


def same_losses(one, other):
  first, second = runs.lines(one), runs.lines(other)
  assert [line["step"] for line in first] == [line["step"] for line in second]
  assert [line["step"] for line in first] == list(range(1, 301))
  # Sums of another order drift apart, and 300 steps later a loss differs in the fourth digit.
  np.testing.assert_allclose(
    [line["loss"] for line in first[:20]], [line["loss"] for line in second[:20]], rtol=2e-5
  )
  np.testing.assert_allclose(
    [line["loss"] for line in first], [line["loss"] for line in second], rtol=1e-2
  )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  path = tmp_path_factory.mktemp("alone") / "run"
  runs.finish(runs.start(path, *WORDS))
  return path


@pytest.fixture(scope="module", params=[2, 4])
def several(request, tmp_path_factory):
  """(run folder of several processes that shared parameters too, what they printed)."""
  path = tmp_path_factory.mktemp("several") / "run"
  return path, finish(start(path, count=request.param))


@nightly
def test_several_processes_give_the_losses_of_one_and_one_writes(several, alone):
  path, told = several
  same_losses(path, alone)
  assert f"{len(told)} x cpu" in told[0][0] and "report.html" in told[0][0]
  for output, _ in told[1:]:  # the others say nothing
    assert [line for line in output.splitlines() if not line.startswith("[Gloo]")] == []
  assert (path / "report.html").exists() and (path / "weights.safetensors").exists()


@nightly
def test_one_process_reads_what_several_wrote(several):
  arrays, position = runs.final(several[0])  # verifies the digests of all arrays and files
  assert int(arrays["step"]) == 300 and position == {"next_batch": 300}


@nightly
@pytest.mark.parametrize("lost", [0, 1])
def test_one_killed_ends_the_other_and_the_relaunch_goes_on(alone, tmp_path, lost):
  """Also with other processes: two die, four go on from their checkpoint."""
  heartbeat = 10 * runs.PATIENCE
  processes = start(tmp_path, f"--heartbeat={heartbeat:.0f}")
  wait_for_lines(tmp_path, 30)
  processes[lost].send_signal(signal.SIGKILL)
  began = time.monotonic()
  _, trouble = processes[1 - lost].communicate(timeout=600 * runs.PATIENCE)
  processes[lost].communicate()
  assert time.monotonic() - began < 3 * heartbeat
  assert processes[1 - lost].returncode not in (0, None)
  assert "another process of this run is lost" in trouble
  named = "unhealthy (stopped sending heartbeats):\n1\n" if lost else "the leader task"
  assert named in trouble  # as our own line before has announced
  assert len(metrics.read(tmp_path / "metrics.jsonl")) < 300
  finish(start(tmp_path, count=4 if lost else 2))
  same_losses(tmp_path, alone)


@nightly
def test_a_signal_to_one_stops_all_at_the_same_step(alone, tmp_path):
  processes = start(tmp_path, count=4)
  wait_for_lines(tmp_path, 15)
  processes[2].send_signal(signal.SIGTERM)
  told = finish(processes, 143)
  assert "stopped at step" in told[0][0]
  finish(start(tmp_path, count=2))
  same_losses(tmp_path, alone)


@nightly
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs Open MPI's mpirun")
def test_open_mpi_starts_them(alone, tmp_path):
  """By JAX's own detection, which knows Open MPI up to 4."""
  launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2"]
  words = ("--distributed", f"--config={runs.QUICK}", f"--workdir={tmp_path}", *WORDS, *AXES[2])
  done = subprocess.run(
    [*launcher, sys.executable, "-m", "mim_jax", "train", *words],
    capture_output=True,
    text=True,
    env=runs.environment(),
    cwd=runs.ROOT,
    timeout=600 * runs.PATIENCE,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert "2 x cpu" in done.stdout
  same_losses(tmp_path, alone)


def test_what_tells_the_processes_apart_is_checked(monkeypatch, capsys):
  distributed.start(False)
  monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
  monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
  with pytest.raises(InputError, match="JAX_NUM_PROCESSES: 'two' is not a whole number"):
    distributed.start(False)
  monkeypatch.delenv("JAX_NUM_PROCESSES")
  words = ["train", f"--config={runs.QUICK}", "--workdir=unused"]
  assert cli.main(words) == 2
  told = capsys.readouterr().err
  assert "did not come together" in told and "srun, mpirun" in told


def test_a_lost_process_is_told_and_other_errors_are_left_alone(monkeypatch, capsys):
  monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
  with pytest.raises(RunError, match="a process of this run was lost"):
    with distributed.together(0):
      raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
  told = capsys.readouterr().err
  assert "process 0 of 2: another process of this run is lost (UNKNOWN: Gloo" in told
  assert "the same command continues from the last checkpoint" in told
  for error in (KeyError("loss"), InputError("--workdir: no connection")):
    with pytest.raises(type(error)):
      with distributed.together(0):
        raise error
  assert capsys.readouterr().err == ""
