"""A run told as one story: train, probe what was learnt, draw it, write the report."""

import functools
import importlib.metadata
import json
import pathlib
import platform
import statistics
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

from mim_jax import assess, errors
from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.checkpoint import location, store
from mim_jax.devices import mesh
from mim_jax.evaluate import features, runner
from mim_jax.monitor import metrics
from mim_jax.pictures import grid
from mim_jax.report import report
from mim_jax.train import folder, loop
from mim_jax.train import state as state_lib
from mim_jax.weights import native

CACHE = "cache"  # of a run folder: features of images, found again by a hash
LIBRARIES = ("mim_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def run(config, workdir) -> dict:
  """Trains (or resumes) in `workdir`, evaluates, writes the report: the facts of this call.

  Stopped by a signal it saves and returns early, with facts["signal"] set.
  """
  asked = config.train.batch_size
  experiment = experiment_lib.build(config)
  if config.train.batch_size != asked:
    log(
      f"batch of {config.train.batch_size}, not {asked}: there are no more than "
      f"{len(experiment.spec.data.train):,} to train on (train.fit_batch)."
    )
  with folder.opened(workdir, config) as path:
    log(f"{path}: {describe(experiment)}")
    state, facts = loop.train(experiment.trainable, path, probe=probe(experiment))
    if facts["signal"]:
      log(f"stopped at step {facts['step']}, saved; the same command goes on from there.")
      return facts
    experiment, state = on_one_process(experiment, state)
    if is_main_process():
      native.save(path / native.FILE, {"params": state.params, **state.stats}, config)
      evaluate_and_report(experiment, state, path, facts)
    mesh.all_reduce_max()  # the others wait: all of them end together
  return facts


def probe(experiment):
  """What the loop calls while training: state -> {name: evaluation}, those in `train.probe`.

  An evaluation() gives {number: value}. None where `train.probe_every` is 0. InputError for a name
  that is no evaluation of the config.
  """
  train = experiment.spec.config.train
  if not train.get("probe_every"):
    return None
  entries = {k: v for k, v in experiment.spec.evaluations.items() if callable(v)}
  chosen = train.probe
  for name in chosen:
    if name not in entries:
      raise errors.unknown("train.probe", name, entries)

  def make(state):
    here, own = on_one_process(experiment, state)
    encode = features.Cached(here.viewer.encoder(own.params, own.stats))
    return {name: functools.partial(entries[name], encode, here.spec.data, 0) for name in chosen}

  return make


def on_one_process(experiment, state):
  """(experiment, state) on this process's first device, where a run has several processes."""
  if mesh.is_single_process():
    return experiment, state
  state = jax.tree.map(np.asarray, multihost_utils.process_allgather(state, tiled=True))
  return on_one_device(experiment), jax.device_put(state, jax.local_devices()[0])


@functools.cache  # with it goes what it has compiled
def on_one_device(experiment):
  """The same experiment on the first device of this process."""
  config = config_lib.from_json(config_lib.to_json(experiment.spec.config))
  config.train.mesh.update(data=-1, fsdp=1, tensor=1)
  return experiment_lib.build(config, devices=jax.local_devices()[:1])


def evaluate_and_report(
  experiment, state, path: pathlib.Path, facts: dict | None = None, only=None
) -> dict:
  """Evaluations, pictures and report of a state, into the run folder: the results."""
  began = time.monotonic()
  results = read_results(path)
  assess.draw_reconstructions(experiment, state, path, results)
  assess.summarise(experiment, state, path, results)
  log(f"evaluating: {', '.join(only or assess.select(experiment.spec.config))}")
  assess.evaluate(experiment, state, results, only, path / CACHE)
  describe_run(experiment, state, path, results, facts, time.monotonic() - began)
  write_results(path, results)
  report.report(path)
  log(runner.table(results["evaluations"]))
  return results


def restored(workdir):
  """(experiment, state) of a run folder, from its config.json and newest checkpoint."""
  experiment = experiment_lib.build(folder.read_config(workdir))
  with store.Checkpoints(
    location.checkpoint_dir(workdir, experiment.spec.config), writes=False
  ) as saves:
    state, _ = saves.restore(experiment.trainable.abstract_state())
  return experiment, state


def reconstruct(workdir, path: str | None, out: str, count: int = 8, seed: int = 0) -> str:
  """Draws what a run predicts for a user's files (or its test set): an honest note on how."""
  experiment, state = restored(workdir)
  source = experiment.spec.data.test
  if path:
    source = experiment.spec.modality.own(path, experiment.spec.config.data)
  index = np.arange(min(count, len(source)))
  pictures = experiment.viewer.pictures(state, source[index], seed)
  if pictures is None:
    raise errors.InputError(
      f"{workdir}: this method predicts no pictures (its config has no `pictures`)."
    )
  grid.picture_grid(experiment.viewer.paint(pictures.panels), limit=count).save(out, "PNG")
  return pictures.note


def describe(experiment) -> str:
  """Says in one line: parameters, data, steps, devices."""
  state, unit = experiment.trainable.abstract_state(), experiment.spec.modality.unit
  sizes = ", ".join(f"{k} {state_lib.count(v) / 1e6:.2f} M" for k, v in state.params.items())
  return (
    f"parameters {sizes}; {len(experiment.spec.data.train):,} training {unit}; "
    f"{experiment.spec.total_steps:,} steps of {experiment.spec.config.train.batch_size} {unit}; "
    f"{jax.device_count()} x {jax.devices()[0].device_kind}"
  )


def describe_run(
  experiment, state, path, results: dict, facts: dict | None, seconds: float
) -> None:
  """Fills in step, cost, hardware, versions and data of the run."""
  lines = metrics.read(path / "metrics.jsonl")
  data, batch = experiment.spec.data, experiment.spec.config.train.batch_size
  cost = results.setdefault("cost", {})
  cost["parameters"] = {k: state_lib.count(v) for k, v in state.params.items()}
  if lines:
    rates = [line["samples_per_second"] for line in lines if "samples_per_second" in line]
    cost["samples_per_second"] = statistics.median(rates)
  times = cost.setdefault("seconds", {})
  times["evaluate"] = seconds
  if facts and facts["flops"]:
    cost["flops_per_sample"] = facts["flops"] / batch
    spent = dict(facts["seconds"])
    steps = spent.pop("steps")
    times.update(spent, train=steps, evaluate=seconds + spent["evaluate"])
    cost["goodput"] = steps / (sum(facts["seconds"].values()) + seconds)
  device = jax.devices()[0]
  results.update(
    step=int(state.step),
    hardware=dict(devices=jax.device_count(), kind=device.device_kind, machine=platform.machine()),
    versions=versions(),
    seed=experiment.spec.config.seed,
    dataset=dict(train=len(data.train), test=len(data.test), fingerprint=data.train.fingerprint),
  )


def versions() -> dict[str, str]:
  """Versions of Python and of the libraries that numbers depend on."""
  found = {"python": platform.python_version()}
  for name in LIBRARIES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "not installed"
  return found


def read_results(path: pathlib.Path) -> dict:
  """results.json of a run folder, {} before the first evaluation."""
  file = path / "results.json"
  return json.loads(file.read_text()) if file.exists() else {}


def write_results(path: pathlib.Path, results: dict) -> None:
  """Writes results.json, whole or not at all."""
  path.mkdir(parents=True, exist_ok=True)
  scratch = path / "results.tmp"
  scratch.write_text(json.dumps(results, indent=2) + "\n")
  scratch.replace(path / "results.json")


def output_files(path: pathlib.Path) -> list[pathlib.Path]:
  """All that a run folder holds, what a user may want to open first."""
  wanted = ("report.html", "results.json", native.FILE, "metrics.jsonl", "config.json")
  found = {x.name: x for x in sorted(path.glob("*")) if not x.name.startswith(".")}
  first = [name for name in wanted if name in found]
  return [found[name] for name in dict.fromkeys([*first, *found])]


def is_main_process() -> bool:
  """Whether this process speaks and writes for the run."""
  return jax.process_index() == 0


def log(text: str) -> None:
  """A line for the person at the terminal."""
  if is_main_process():
    print(text, flush=True)
