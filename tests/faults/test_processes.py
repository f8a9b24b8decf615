"""Two processes on one host as one run: losses of one process, one writer, nobody left hanging."""

import os
import pathlib
import signal
import socket
import sys
import time

import numpy as np
import pytest

from mim_jax.cli import main as cli
from mim_jax.errors import InputError
from mim_jax.train import distributed, metrics

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

# Several processes on two cores take minutes, and most of them waiting.
nightly = pytest.mark.skipif("NIGHTLY" not in os.environ, reason="NIGHTLY=1 runs it")
WORDS = ("--config.train.steps=8", "--config.train.checkpoint_every=4")


def start(workdir, *words, count=2, cache=None):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  return [
    runs.start(
      workdir,
      *words,
      cache=cache,
      JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
      JAX_NUM_PROCESSES=str(count),
      JAX_PROCESS_ID=str(index),
    )
    for index in range(count)
  ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """(run folder of two processes that shared parameters too, what they printed)."""
  path = tmp_path_factory.mktemp("pair") / "run"
  processes = start(path, *WORDS, "--config.train.mesh.data=1", "--config.train.mesh.fsdp=2")
  try:
    return path, [runs.finish(p) for p in processes]
  finally:
    for process in processes:
      process.kill()


@nightly
def test_two_processes_give_the_losses_of_one_and_one_writes(pair, tmp_path):
  path, told = pair
  runs.finish(runs.start(tmp_path / "one", *WORDS))
  both, alone = runs.lines(path), runs.lines(tmp_path / "one")
  assert [line["step"] for line in both] == list(range(1, 9))
  np.testing.assert_allclose(
    [line["loss"] for line in both], [line["loss"] for line in alone], rtol=2e-5
  )
  assert "2 x cpu" in told[0][0] and "report.html" in told[0][0]
  said = [line for line in told[1][0].splitlines() if not line.startswith("[Gloo]")]
  assert said == []  # the second process says nothing
  assert len(list(path.glob("events.out*"))) == 1
  assert (path / "report.html").exists() and (path / "weights.safetensors").exists()


@nightly
def test_one_process_reads_what_two_wrote(pair):
  arrays, position = runs.final(pair[0])  # verifies the digests of all arrays and files
  assert int(arrays["step"]) == 8 and position == {"next_batch": 8}


@nightly
def test_one_killed_ends_the_other_and_the_relaunch_goes_on(pair, tmp_path):
  words = (*WORDS, "--config.train.steps=100000", "--heartbeat=10")
  processes = start(tmp_path, *words)
  deadline = time.monotonic() + 200
  while len(metrics.read(tmp_path / "metrics.jsonl")) < 6 and time.monotonic() < deadline:
    time.sleep(0.05)
  processes[1].send_signal(signal.SIGKILL)
  began = time.monotonic()
  _, trouble = processes[0].communicate(timeout=600)
  processes[1].communicate()
  assert time.monotonic() - began < 60
  assert processes[0].returncode not in (0, None)
  assert "process 1" in trouble or "task/1" in trouble or "Task 1" in trouble, trouble
  mesh = ("--config.train.mesh.data=1", "--config.train.mesh.fsdp=2")
  for process in start(tmp_path, *WORDS, *mesh):
    runs.finish(process)
  told = runs.lines(tmp_path), runs.lines(pair[0])
  np.testing.assert_allclose(*[[line["loss"] for line in run] for run in told], rtol=2e-5)


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
