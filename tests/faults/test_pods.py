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
from mim_jax.devices import topology
from mim_jax.errors import InputError
from mim_jax.optim import rules

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
    with pytest.raises(InputError, match=r"--topology: .* is unknown.*h100-N.*v5e-N.*cpu-8"):
      topology.devices(name)
  with pytest.raises(InputError, match="12 chips are not a power of 2"):
    topology.slice_shape(12, 2)
  assert cli.main(["train", f"--config={SPEC}", "--compile-only"]) == 2
  assert "--compile-only --topology=NAME" in capsys.readouterr().err


def test_without_the_compiler_the_remedy_is_named(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  monkeypatch.setattr(jax.config, "update", lambda *_: None)
  with pytest.raises(
    InputError, match=r"v5e-256: the TPU compiler is not installed.*mim-jax\[tpu\].*cpu-8"
  ):
    topology.devices("v5e-256")


@pytest.mark.parametrize(
  ("said", "told"),
  [
    ("the total memory required for HLO temporaries (2.94T) exceeds available HBM", "would fit"),
    ("Used 24.07G of 15.75G hbm. Exceeded hbm capacity by 8.32G", "would fit"),
    ("all is full", r"devices of 16.0 GiB \(RESOURCE_EXHAUSTED: all is full\). Try half"),
  ],
)
def test_what_the_compiler_refuses_is_told_with_remedies(said, told):
  class Lowered:
    def compile(self):
      raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {said}")

  config = config_lib.get_config(str(runs.QUICK))
  config.train.update(batch_size=65536, fit_batch=False)
  experiment = experiment_lib.build(config)
  with pytest.raises(InputError, match=rf"{told}.*mesh.fsdp=-1.*remat=full"):
    topology.compiled(
      experiment.trainable, experiment.trainable.abstract_state(), Lowered(), 16 * 2**30
    )


def test_collectives_are_counted_with_their_bytes():
  text = """
  %a = f32[4,8]{1,0} all-reduce(%x), replica_groups={}
  %b = (f32[2]{0}, bf16[3]{0}) all-reduce-start(%y, %z)
  %c = (f32[2]{0}, bf16[3]{0}) all-reduce-done(%b)
  %d = (f32[2]{0:T(256)}, f32[16]{0:T(256)}) all-gather-start(%y), dimensions={0}
  %e = (f32[5]{0}, f32[5]{0}, u32[], u32[]) collective-permute-start(%y)
  ROOT %f = u8[10]{0} all-gather(%c), dimensions={0}
  """
  assert topology.collectives(text) == {
    "all-reduce": (2, 128 + 14),
    "all-gather": (2, 64 + 10),
    "collective-permute": (1, 20),
  }


def test_collectives_in_loops_count_for_every_turn():
  text = """HloModule jit_update, entry_computation_layout={(f32[2]{0})->f32[2]{0}}

%wrapped (p: f32[2]) -> f32[2] {
  ROOT %r = f32[1]{0} reduce-scatter(%p), dimensions={0}
}

%inner.3 (p: f32[2]) -> f32[2] {
  %g = f32[8]{0} all-gather(%p), dimensions={0}
  %s = ((f32[2]), f32[1]) async-start(%p), calls=%wrapped
  ROOT %t = f32[1]{0} async-done(%s), calls=%wrapped
}

%below (p: f32[2]) -> pred[] {
  %n = s32[]{:T(128)} constant(3)
  ROOT %l = pred[]{:T(512)} compare(%i, %n), direction=LT
}

%outer (p: f32[2]) -> f32[2] {
  ROOT %w = f32[2] while(%p), condition=%below, body=%inner.3, metadata={op_name="a TPU's"}
}

ENTRY %main (p: f32[2]) -> f32[2] {
  %v = f32[2] while(%p), condition=%c, body=%outer, backend_config={"known_trip_count":{"n":"2"}}
  ROOT %a = f32[2] all-reduce(%v), to_apply=%sum
}
"""
  assert topology.collectives(text) == {
    "all-reduce": (1, 8),
    "all-gather": (6, 192),
    "reduce-scatter": (6, 24),
  }


@pytest.mark.slow
def test_a_small_mae_has_the_collectives_it_should():
  """Data parallel: gradients are summed, nothing else moves. FSDP: parameters are gathered, too."""
  found = {}
  for name, axes in dict(data=dict(data=8), fsdp=dict(data=1, fsdp=8)).items():
    config = config_lib.get_config(str(runs.QUICK))
    config.train.mesh.update(axes)
    experiment = experiment_lib.build(config)
    found[name] = topology.compile_only(experiment.trainable, None)
    state = experiment.trainable.abstract_state()
  parameters = sum(4 * x.size for x in jax.tree.leaves(state.params))
  data, fsdp = found["data"]["collectives"], found["fsdp"]["collectives"]
  assert set(data) == {"all-reduce"}
  # every gradient once, and the few numbers that are logged
  assert parameters <= data["all-reduce"][1] < 1.02 * parameters + 1000
  assert fsdp["all-gather"][0] >= 10
  assert found["fsdp"]["memory"]["state"] < 0.6 * found["data"]["memory"]["state"]


# A data-parallel step adds up gradients and nothing else; fsdp also gathers the kernels, once. As the
# CPU's compiler of the pinned JAX joins them: an array of gradients each, but for some.
EXPECTED = dict(data={"all-reduce": 33}, fsdp={"all-reduce": 36, "all-gather": 11})


@pytest.mark.slow
@pytest.mark.parametrize("axis", EXPECTED)
def test_mae_l_has_the_collectives_it_should(axis):
  config = config_lib.get_config("mae", "dataset=digits,size=L,image=224")
  config.parts.encoder.stack.scan = config.parts.predictor.stack.scan = True
  config.train.batch_size = 64
  config.train.mesh.update({"data": 1, "fsdp": 1, axis: 8})
  experiment = experiment_lib.build(config)
  found = topology.compile_only(experiment.trainable, None)
  sizes = {
    n: 4 * x.size for n, x in rules.named_leaves(experiment.trainable.abstract_state().params)
  }
  kernels = [size for name, size in sizes.items() if name.endswith("kernel")]
  counts = {kind: count for kind, (count, _) in found["collectives"].items()}
  assert counts == EXPECTED[axis]
  assert 0 <= found["collectives"]["all-reduce"][1] - sum(sizes.values()) < 1000  # and the metrics
  if axis == "fsdp":
    assert found["collectives"]["all-gather"] == (len(kernels), sum(kernels))
    assert found["memory"]["state"] < 1.1 * found["ideal"]


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
  assert re.search(r"(reduce-scatter|all-reduce) +\d+ a step", done.stdout)
