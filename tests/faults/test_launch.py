"""The launch scripts, dry: they call what the README says, and hand every word on."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).parents[2] / "experiments" / "launch"
CALLS = {
  "one_machine.sh": (["mae:size=B", "/runs/b"], ["mim-jax"]),
  "slurm.sh": (["mae:size=B", "/runs/b"], ["srun"]),
  "tpu_queued.sh": (
    ["pod", "us-east5-a", "v5litepod-256", "mae:size=B", "/runs/b"],
    ["gcloud"] * 2,
  ),
  "tpu_xpk.sh": (["job", "cluster", "v5litepod-256", "2", "mae:size=B", "/runs/b"], ["xpk"]),
}


def script(name, *words):
  environment = dict(os.environ, DRY="1", LAUNCH=str(LAUNCH))
  return subprocess.run(
    ["bash", str(LAUNCH / name), *words],
    capture_output=True,
    text=True,
    env=environment,
    check=False,
  )


def test_every_script_is_here_and_in_the_readme():
  scripts = {p.name for p in LAUNCH.glob("*.sh")} - {"common.sh"}
  assert scripts == CALLS.keys()
  assert all(
    f"`{name} " in text or f" {name} " in text
    for name in scripts
    for text in [(LAUNCH / "README.md").read_text()]
  )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", CALLS)
def test_a_dry_run_prints_the_launcher_s_command(name):
  words, programs = CALLS[name]
  done = script(name, *words, "--config.train.mesh.fsdp=8", "--config.method=two words")
  assert done.returncode == 0, done.stderr
  lines = [shlex.split(line) for line in done.stdout.splitlines()]
  assert [line[0] for line in lines] == programs
  last = " ".join(lines[-1])
  for word in (
    "mim-jax",
    "train",
    "--config=mae:size=B",
    "--workdir=/runs/b",
    "--config.train.mesh.fsdp=8",
  ):
    assert word in last
  assert ("--distributed" in last) == (name != "one_machine.sh")
  inner = shlex.split(
    next((w.partition("=")[2] for w in lines[-1] if w.startswith("--command=")), "")
  )
  assert "--config.method=two words" in (inner or lines[-1])


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", CALLS)
def test_too_few_words_are_told(name):
  done = script(name)
  assert done.returncode == 2 and "usage: " in done.stderr and "CONFIG FOLDER" in done.stderr
