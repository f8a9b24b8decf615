"""Real training processes for the tests of faults."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import experiment as experiment_lib
from mim_jax.checkpoint import location, store
from mim_jax.monitor import metrics
from mim_jax.optim import rules
from mim_jax.train import folder

ROOT = pathlib.Path(__file__).parents[2]
QUICK = ROOT / "tests" / "faults" / "quick.py"
PATIENCE = float(
  os.environ.get("PATIENCE", "1")
)  # 10 on a machine ten times as slow as it should be


def environment(cache=None, **more):
  """Of a training process: one device, and what was compiled before is found in `cache`."""
  kept = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
  if cache is not None:
    kept.update(
      JAX_COMPILATION_CACHE_DIR=str(cache),
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
      JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )
  return kept | {"JAX_PLATFORMS": "cpu"} | more


def start(workdir, *words, config=QUICK, cache=None, **more):
  """Starts `python -m mim_jax train` in a process of its own."""
  command = [sys.executable, "-m", "mim_jax", "train", f"--config={config}"]
  return subprocess.Popen(
    [*command, f"--workdir={workdir}", *words],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=environment(cache, **more),
    text=True,
    cwd=ROOT,
  )


def finish(process, code=0, timeout=600 * PATIENCE):
  """(standard output, standard error) of a process that must end with `code`."""
  try:
    output, trouble = process.communicate(timeout=timeout)
  except subprocess.TimeoutExpired:
    process.kill()
    raise
  assert process.returncode == code, f"exit code {process.returncode}\n{output}\n{trouble}"
  assert code < 0 or "Traceback" not in trouble, trouble
  return output, trouble


def final(workdir):
  """(arrays by name, data position) of the newest checkpoint of a run."""
  config = folder.read_config(workdir)
  config.train.mesh.update(dict(data=1, fsdp=1, tensor=1))
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  with store.Checkpoints(location.checkpoint_dir(workdir, config)) as saves:
    state, extra = saves.restore(experiment.trainable.abstract_state())
  return dict(rules.named_leaves(jax.device_get(state))), extra["data"]


def lines(workdir):
  """metrics.jsonl without what it says of the machine."""
  found = metrics.read(pathlib.Path(workdir) / "metrics.jsonl")
  return [{k: v for k, v in line.items() if k not in metrics.TIMING} for line in found]


def same_run(one, other):
  """Asserts that two runs ended with the same bits, and told the same story."""
  (first, place), (second, other_place) = final(one), final(other)
  assert place == other_place
  assert first.keys() == second.keys()
  for name in first:
    np.testing.assert_array_equal(first[name], second[name], err_msg=name)
  assert lines(one) == lines(other)


def a_state(shift=0.0):
  return {"a": jnp.arange(600.0).reshape(20, 30) + shift, "b": jnp.ones([], jnp.int32)}


def abstract(state):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def written(path, steps=(1, 2), **policy):
  with store.Checkpoints(path, **policy) as saves:
    for step in steps:
      saves.save(step, a_state(step), {"data": {"next_batch": step}}, loss=abs(step - 3.0))
    saves.wait()
    return saves.steps()
