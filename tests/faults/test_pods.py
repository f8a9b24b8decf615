"""Machines that are not here: compiled for, measured, and refused where the config does not fit."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import jax
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.cli import main as cli
from mim_jax.errors import InputError
from mim_jax.train import topology

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import runs

SPEC = "mae:dataset=digits,size=nano"


def compile_only(*words, spec=SPEC):
  command = [sys.executable, "-m", "mim_jax", "train", f"--config={spec}", "--compile-only", *words]
  return subprocess.run(
    command, capture_output=True, text=True, env=runs.environment(), cwd=runs.ROOT, check=False
  )


@pytest.mark.parametrize(
  ("name", "shape"),
  [("v5e-256", (16, 16)), ("v5e-8", (2, 4)), ("v4-8", (2, 2, 1)), ("v5p-64", (2, 4, 4))],
)
def test_slices_have_the_shapes_of_their_names(name, shape):
  kind, _, count = name.partition("-")
  chip = topology.CHIPS[kind]
  assert topology.slice_shape(int(count) // chip.counted, chip.axes) == shape


def test_an_unknown_machine_is_refused(capsys):
  for name in ("v5x-256", "v5e", "v5e-many", "cpu-0"):
    with pytest.raises(InputError, match=r"--topology: .* is unknown.*Allowed: cpu-N, v4-N"):
      topology.devices(name)
  with pytest.raises(InputError, match="12 chips are not a power of 2"):
    topology.slice_shape(12, 2)
  assert cli.main(["train", f"--config={SPEC}", "--compile-only"]) == 2
  assert "--compile-only --topology=NAME" in capsys.readouterr().err


def test_without_the_compiler_the_remedy_is_named(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  monkeypatch.setattr(jax.config, "update", lambda *_: None)
  with pytest.raises(
    InputError, match=r"v5e-256: the TPU compiler is not installed.*jax\[tpu\].*cpu-8"
  ):
    topology.devices("v5e-256")


def test_collectives_are_counted_with_their_bytes():
  text = """
  %a = f32[4,8]{1,0} all-reduce(%x), replica_groups={}
  %b = (f32[2]{0}, bf16[3]{0}) all-reduce-start(%y, %z)
  %c = (f32[2]{0}, bf16[3]{0}) all-reduce-done(%b)
  ROOT %d = u8[10]{0} all-gather(%c), dimensions={0}
  """
  assert topology.collectives(text) == {"all-reduce": (2, 128 + 14), "all-gather": (1, 10)}


@pytest.mark.slow
def test_a_small_mae_has_the_collectives_it_should():
  """Data parallel: gradients are summed, nothing else moves. FSDP: parameters are gathered, too."""
  found = {}
  for name, axes in dict(data=dict(data=8), fsdp=dict(data=1, fsdp=8)).items():
    config = config_lib.get_config(str(runs.QUICK))
    config.train.mesh.update(axes)
    experiment = experiment_lib.Experiment(config)
    found[name] = topology.compile_only(experiment, None)
    state = experiment.abstract_state()
  parameters = sum(4 * x.size for x in jax.tree.leaves(state.params))
  data, fsdp = found["data"]["collectives"], found["fsdp"]["collectives"]
  assert set(data) == {"all-reduce"}
  # every gradient once, and the few numbers that are logged
  assert parameters <= data["all-reduce"][1] < 1.02 * parameters + 1000
  assert fsdp["all-gather"][0] >= 10
  assert found["fsdp"]["memory"]["state"] < 0.6 * found["data"]["memory"]["state"]


@pytest.mark.slow
def test_the_command_says_what_is_needed():
  done = compile_only(
    "--topology=cpu-8", "--config.train.mesh.data=4", "--config.train.mesh.fsdp=2"
  )
  assert done.returncode == 0, done.stderr
  assert "cpu-8: 8 devices as data 4, fsdp 2, tensor 1" in done.stdout
  for word in ("memory of each", "FLOPs of each", "all-reduce", "all-gather"):
    assert word in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the TPU compiler, libtpu"
)
def test_a_step_is_compiled_for_a_pod():
  words = ("--topology=v5e-256", "--config.train.batch_size=4096", "--config.train.mesh.fsdp=16")
  done = compile_only(*words, spec="mae:dataset=digits,size=S,image=8")
  assert done.returncode == 0, done.stderr
  assert "v5e-256: 256 devices as data 16, fsdp 16, tensor 1" in done.stdout
  assert re.search(r"(reduce-scatter|all-reduce) +\d+ in the program", done.stdout)
