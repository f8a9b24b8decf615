"""The loop: resume in a new process, metrics, faults, meshes."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.checkpoint import store
from mim_jax.devices import program as program_lib
from mim_jax.errors import InputError
from mim_jax.monitor import metrics, numerics
from mim_jax.optim import rules
from mim_jax.train import loop

SPEC = "configs/mae.py:dataset=digits,size=nano"


def a_config(**train):
  config = config_lib.get_config("mae", "dataset=digits,size=nano")
  config.train.update(dict(steps=20, batch_size=16, log_every=2, checkpoint_every=10) | train)
  return config


def one_device(config):
  return experiment_lib.build(config, devices=jax.devices()[:1])


def in_new_process(workdir, stop_at=None, steps=20):
  """Trains in a process of its own, with one device, and writes the state's bytes beside the run."""
  code = f"""
import pathlib, jax, numpy as np
from mim_jax import config, experiment
from mim_jax.train import loop
c = config.get_config("mae", "dataset=digits,size=nano")
c.train.update(dict(steps={steps}, batch_size=16, log_every=2, checkpoint_every=10))
path = pathlib.Path({str(workdir)!r})
state, facts = loop.train(experiment.build(c).trainable, path, stop_at={stop_at})
from mim_jax.optim import rules
np.savez(path.with_suffix(".npz"), **dict(rules.named_leaves(jax.device_get(state))))
"""
  subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
  return dict(np.load(pathlib.Path(workdir).with_suffix(".npz")))


def test_ten_and_ten_steps_are_twenty_in_new_processes_bit_for_bit(tmp_path):
  whole = in_new_process(tmp_path / "whole")
  in_new_process(tmp_path / "parts", stop_at=10)
  parts = in_new_process(tmp_path / "parts")
  assert whole.keys() == parts.keys()
  for name in whole:
    np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
  lines = [metrics.read(tmp_path / run / "metrics.jsonl") for run in ("whole", "parts")]
  timing = metrics.TIMING
  bare = [[{k: v for k, v in line.items() if k not in timing} for line in run] for run in lines]
  assert bare[0] == bare[1]
  assert [line["step"] for line in bare[0]] == list(range(2, 21, 2))


def test_sigterm_saves_and_the_same_command_goes_on(tmp_path):
  command = [sys.executable, "-m", "mim_jax", "train", f"--config={SPEC}", f"--workdir={tmp_path}"]
  command += [
    "--config.train.steps=100000",
    "--config.train.batch_size=16",
    "--config.train.log_every=1",
  ]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  file = tmp_path / "metrics.jsonl"
  deadline = time.monotonic() + 120
  while len(metrics.read(file)) < 3 and time.monotonic() < deadline:
    time.sleep(0.2)
  process.send_signal(signal.SIGTERM)
  output, trouble = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGTERM, trouble
  assert "finishing this step" in output
  assert "Traceback" not in trouble
  step = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
  assert f"stopped at step {step}, saved" in output
  assert not (tmp_path / ".owner").exists()
  assert not (tmp_path / "report.html").exists()


def test_a_line_cut_short_by_a_crash_and_lines_after_the_checkpoint_are_dropped(tmp_path):
  loop.train(one_device(a_config()).trainable, tmp_path, stop_at=10)
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write(json.dumps(dict(step=12, loss=0.0)) + '\n{"step": 14, "lo')
  loop.train(one_device(a_config()).trainable, tmp_path)
  lines = metrics.read(tmp_path / "metrics.jsonl")
  assert [line["step"] for line in lines] == list(range(2, 21, 2))
  assert all(line["loss"] > 0 for line in lines)


def test_a_non_finite_step_is_named_and_the_state_before_it_kept(tmp_path):
  experiment = one_device(a_config(checkpoint_every=4))
  whole = experiment.trainable.forward

  def broken(params, stats, teacher, batch, step):
    loss, aux = whole(params, stats, teacher, batch, step)
    return jax.numpy.where(step.index == 6, jax.numpy.nan, loss), aux

  experiment.trainable.forward = broken
  with pytest.raises(
    numerics.NonFiniteError, match="step 7: loss or gradient is not finite.*not applied"
  ):
    loop.train(experiment.trainable, tmp_path)
  kept = store.Checkpoints(tmp_path / "checkpoints")
  assert kept.latest() == 4
  kept.close()
  assert [line["step"] for line in metrics.read(tmp_path / "metrics.jsonl")] == [2, 4, 6]


def test_a_second_shape_is_an_error_not_a_second_compilation():
  experiment = one_device(a_config())
  batch = next(experiment.spec.batches())
  program = program_lib.compile_update(
    experiment.trainable, experiment.trainable.abstract_state(), batch
  )
  state = experiment.trainable.init(jax.random.key(0))
  with pytest.raises(TypeError, match="compiled|shape"):
    program(state, {k: jax.numpy.asarray(v[:8]) for k, v in batch.items()})


def test_the_state_is_donated():
  experiment = one_device(a_config())
  program = program_lib.compile_update(
    experiment.trainable, experiment.trainable.abstract_state(), next(experiment.spec.batches())
  )
  memory = program.memory_analysis()
  state = sum(
    x.size * x.dtype.itemsize for x in jax.tree.leaves(experiment.trainable.abstract_state())
  )
  assert memory.alias_size_in_bytes >= 0.99 * state


def test_other_data_than_the_checkpoint_s_is_refused(tmp_path):
  loop.train(one_device(a_config()).trainable, tmp_path, stop_at=10)
  other = one_device(a_config())
  other.spec.fingerprint = lambda: "another"
  with pytest.raises(InputError, match="training set has changed.*another now"):
    loop.train(other.trainable, tmp_path)


def test_there_is_nothing_to_restore_in_an_empty_folder(tmp_path):
  saves = store.Checkpoints(tmp_path)
  with pytest.raises(InputError, match="no finished checkpoint here"):
    saves.extra()
  saves.close()


def test_steps_and_epochs_are_told_apart():
  assert one_device(a_config(steps=None, epochs=2.0)).spec.total_steps == round(2 * 1438 / 16)
  with pytest.raises(InputError, match=r"steps=20, epochs=2.0. Give one"):
    _ = one_device(a_config(epochs=2.0)).spec.total_steps


@pytest.mark.parametrize("axes", [dict(data=8, fsdp=1), dict(data=2, fsdp=4)])
def test_eight_devices_give_the_losses_of_one(axes):
  def run(experiment):
    program = None
    state, batches, losses = (
      experiment.trainable.init(jax.random.key(0)),
      experiment.spec.batches(),
      [],
    )
    for _ in range(4):
      batch = next(batches)
      program = program or program_lib.compile_update(
        experiment.trainable, experiment.trainable.abstract_state(), batch
      )
      state, measured = program(state, loop.mesh.to_devices(batch, experiment.spec.mesh))
      losses.append(float(measured["loss"]))
    return losses, state

  config = a_config()
  config.train.mesh.update(axes)
  many, state = run(experiment_lib.build(config))
  one, _ = run(one_device(a_config()))
  np.testing.assert_allclose(many, one, rtol=1e-5)
  kernel = dict(rules.named_leaves(state))["opt_state/0/mu/encoder/stack/block_00/mlp/up/kernel"]
  assert len({s.data.shape for s in kernel.addressable_shards}) == 1
  assert kernel.addressable_shards[0].data.size * axes["fsdp"] == kernel.size


def test_an_implicit_transfer_in_the_loop_is_an_error(tmp_path, monkeypatch):
  monkeypatch.setattr(loop.mesh, "to_devices", lambda batch, mesh: batch)
  with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
    loop.train(one_device(a_config()).trainable, tmp_path)
