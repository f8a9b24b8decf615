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

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax import experiment as experiment_lib
from mim_jax.data import clips, paired
from mim_jax.data import folder as folder_lib
from mim_jax.evaluate import (
  features,
  held_out,
  network,
  reconstruction,
  report,
  runner,
  standard,
  views,
)
from mim_jax.train import checkpoint, folder, mesh, metrics
from mim_jax.train import state as state_lib
from mim_jax.weights import conversion, native

LIBRARIES = ("mim_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def run(config, workdir) -> dict:
  """Trains (or resumes) in `workdir`, evaluates, writes the report: the facts of this call.

  Stopped by a signal it saves and returns early, with facts["signal"] set.
  """
  experiment = experiment_lib.build(config)
  with folder.opened(workdir, config) as path:
    say(f"{path}: {describe(experiment)}")
    state, facts = experiment.train(path, probe=probe(experiment))
    if facts["signal"]:
      say(f"stopped at step {facts['step']}, saved; the same command goes on from there.")
      return facts
    experiment, state = whole(experiment, state)
    if first():
      native.save(path / native.FILE, {"params": state.params, **state.stats}, config)
      assess(experiment, state, path, facts)
    mesh.agreed()  # the others wait: all of them end together
  return facts


def probe(experiment):
  """What the loop calls while training: state -> {name: evaluation}, those in `train.probe`.

  An evaluation() gives {number: value}. None where `train.probe_every` is 0. InputError for a name
  that is no evaluation of the config.
  """
  train = experiment.config.train
  if not train.get("probe_every"):
    return None
  entries = {k: v for k, v in experiment.evaluations.items() if callable(v)}
  chosen = train.probe
  for name in chosen:
    if name not in entries:
      raise errors.unknown("train.probe", name, entries)

  def make(state):
    here, own = whole(experiment, state)
    encode = features.Cached(here.encoder(own.params, own.stats))
    return {name: functools.partial(entries[name], encode, here.data, 0) for name in chosen}

  return make


def whole(experiment, state):
  """(experiment, state) on this process's first device, where a run has several processes."""
  if mesh.alone():
    return experiment, state
  state = jax.tree.map(np.asarray, multihost_utils.process_allgather(state, tiled=True))
  return on_one_device(experiment), jax.device_put(state, jax.local_devices()[0])


@functools.cache  # with it goes what it has compiled
def on_one_device(experiment):
  """The same experiment on the first device of this process."""
  config = config_lib.from_json(config_lib.to_json(experiment.config))
  config.train.mesh.update(data=-1, fsdp=1, tensor=1)
  return experiment_lib.Experiment(config, devices=jax.local_devices()[:1])


def assess(experiment, state, path: pathlib.Path, facts: dict | None = None, only=None) -> dict:
  """Evaluations, pictures and report of a state, into the run folder: the results."""
  began = time.monotonic()
  results = read_results(path)
  draw(experiment, state, path, results)
  look(experiment, state, path, results)
  evaluate(experiment, state, results, only, path / "features")
  describe_run(experiment, state, path, results, facts, time.monotonic() - began)
  write_results(path, results)
  report.report(path)
  return results


def restored(workdir):
  """(experiment, state) of a run folder, from its config.json and newest checkpoint."""
  path = pathlib.Path(workdir)
  experiment = experiment_lib.build(folder.read_config(path))
  with checkpoint.Checkpoints(path / "checkpoints", writes=False) as saves:
    state, _ = saves.restore(experiment.abstract_state())
  return experiment, state


def evaluate(experiment, state, results: dict, only=None, folder=None) -> None:
  """Runs evaluations on the state and the baselines: those of the config, or `only` these, of the
  config or of `standard`. folder: where features are kept.
  """
  net = experiment.encoder(state.params, state.stats)
  random = functools.partial(random_encoder, experiment)
  found = compared(experiment, net, random, only, folder)
  results.setdefault("evaluations", {}).update(found)


def compared(experiment, net, random, only=None, folder=None) -> dict:
  """What runner.run finds for a network and its baselines; random(seed) gives an untrained one."""
  config, data = experiment.config, experiment.data
  entries = chosen(config, only)
  seeds, pixels = range(config.evaluations.seeds), experiment.pixels()
  say(f"evaluating: {', '.join(entries)}")
  made = {
    "random": random,
    "pixels": lambda seed: pixels,
    "supervised": lambda seed: config_lib.build(standard.scratch(config))(net, data, seed),
  }
  encoders = {"pretrained": [net] * len(seeds)}
  for name in config.evaluations.baselines:
    if name not in made:
      raise errors.unknown("evaluations.baselines", name, made)
    encoders[name] = [made[name](seed) for seed in seeds]
  return runner.run(entries, encoders, data, list(seeds), folder)


def chosen(config, only=None) -> dict:
  """{name: (function, protocol)} of a config's evaluations, or of `only` these.

  Errors: InputError for a name that neither the config nor `standard` has.
  """
  known = {name: node for name, node in config.evaluations.items() if config_lib.is_node(node)}
  if not only:
    only = list(known)
  elif not known.keys() >= set(only):
    known = standard.entries(config) | known
  allow, entries = tuple(config.get("allow_modules", ())), {}
  view = {f"view.{key}": config.data.view.get(key) for key in ("size", "resize")}
  for name in only:
    if name not in known:
      raise errors.unknown("--evals", name, known)
    function = config_lib.build(known[name], allow, f"evaluations.{name}")
    entries[name] = function, config_lib.flatten(known[name]) | view
  return entries


def config_of(weights):
  """The config in a weights file of ours; InputError where the weights come without one."""
  _, config = conversion.load(weights)
  if "evaluations" not in config:
    raise errors.InputError(
      f"{weights}: these weights say nothing of data. Name a config that has some: "
      "--config=configs/mae.py:dataset=folder,path=photos."
    )
  return config


def weigh(weights, config, only=None, folder=None) -> dict:
  """Evaluates weights, published or ours, on a config's data: {"source", "evaluations"}."""
  variables, own = conversion.load(weights)
  config = config.copy_and_resolve_references()
  config.unlock()
  config.parts, config.data.view = own.parts, own.data.view
  config.encode = own.encode
  experiment = experiment_lib.Experiment(config)
  net = network.Network(experiment.body, variables)
  view = experiment.body.view(experiment.data.train[np.arange(2)])

  def random(seed):
    return net.like(experiment.body.start(jax.random.key(10_000 + seed), view))

  source = native.pinned(weights) | {k: str(v) for k, v in own.get("source", {}).items()}
  return dict(source=source, evaluations=compared(experiment, net, random, only, folder))


def random_encoder(experiment, seed: int):
  """The encoder as it was before training, drawn with a seed that no run uses."""
  state = experiment.init(jax.random.key(10_000 + seed))
  return experiment.encoder(state.params, state.stats)


def draw(experiment, state, path: pathlib.Path, results: dict) -> None:
  """Pictures of eight held-out images, if the method has pictures."""
  source = experiment.data.test
  index = np.linspace(0, len(source) - 1, 8).astype(int)
  pictures = experiment.pictures(state, source[index])
  if pictures is not None:
    view = experiment.config.data.view
    results["reconstruction"] = reconstruction.save(path, pictures, mean=view.mean, std=view.std)


def look(experiment, state, path: pathlib.Path, results: dict) -> None:
  """What the encoder makes of images, and the loss on held-out ones, for the report.

  What can't be had for this method or these images is left out, and results["missing"] says why.
  """
  data, train = experiment.data, experiment.config.train
  settings = path, functools.partial(experiment.look, state), data, experiment.config.data.view
  wanted = {
    "features": lambda: views.draw_seen(*settings),
    "neighbours": lambda: views.draw_neighbours(*settings),
    "held_out": lambda: held_out.held_out(
      experiment.loss, state, data, train.batch_size, experiment.total_steps
    ),
  }
  missing = results["missing"] = {}
  for name, find in wanted.items():
    results.pop(name, None)
    try:
      results[name] = find()
    except Exception as error:  # a picture that fails must not take the evaluations with it
      kind = "" if isinstance(error, errors.InputError) else f"{type(error).__name__}: "
      missing[name] = f"{kind}{error}"


def reconstruct(workdir, images: str | None, out: str, count: int = 8, seed: int = 0) -> str:
  """Draws what a run predicts for a folder (or its test set): an honest note on how."""
  experiment, state = restored(workdir)
  source = experiment.data.test
  if images:
    source = like_the_run(experiment.config.data, images)
  index = np.arange(min(count, len(source)))
  pictures = experiment.pictures(state, source[index], seed)
  if pictures is None:
    raise errors.InputError(
      f"{workdir}: this method predicts no pictures (its config has no `pictures`)."
    )
  view = experiment.config.data.view
  shown = reconstruction.denormalize(pictures.panels, view.mean, view.std)
  reconstruction.picture_grid(shown, limit=count).save(out, "PNG")
  return pictures.note


def like_the_run(data, path: str):
  """A folder of what a run was trained on, images, clips or images with maps, as a Source."""
  settings = dict(path=path, split="all", canvas=2 * max(data.view.size))
  settings["channels"] = len(data.view.mean)
  if "sample" in data.test:
    return clips.clips(sample=config_lib.build(data.test.sample), **settings)
  if "maps" in data.test:
    return paired.paired(maps=data.test.maps, ids=data.test.ids, **settings)
  return folder_lib.folder(**settings)


def describe(experiment) -> str:
  """One line: parameters, data, steps, devices."""
  state = experiment.abstract_state()
  sizes = ", ".join(f"{k} {state_lib.count(v) / 1e6:.2f} M" for k, v in state.params.items())
  return (
    f"parameters {sizes}; {len(experiment.data.train):,} training images; "
    f"{experiment.total_steps:,} steps of {experiment.config.train.batch_size} images; "
    f"{jax.device_count()} x {jax.devices()[0].device_kind}"
  )


def describe_run(
  experiment, state, path, results: dict, facts: dict | None, seconds: float
) -> None:
  """Fills in step, cost, hardware, versions and data of the run."""
  lines = metrics.read(path / "metrics.jsonl")
  data, batch = experiment.data, experiment.config.train.batch_size
  cost = results.setdefault("cost", {})
  cost["flops_per_image_formula"] = config_lib.flops(experiment.config)
  cost["parameters"] = {k: state_lib.count(v) for k, v in state.params.items()}
  if lines:
    rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
    cost["images_per_second"] = statistics.median(rates)
  times = cost.setdefault("seconds", {})
  times["evaluate"] = seconds
  if facts and facts["flops"]:
    cost["flops_per_image"] = facts["flops"] / batch
    spent = dict(facts["seconds"])
    steps = spent.pop("steps")
    times.update(spent, train=steps, evaluate=seconds + spent["evaluate"])
    cost["goodput"] = steps / (sum(facts["seconds"].values()) + seconds)
  device = jax.devices()[0]
  results.update(
    step=int(state.step),
    hardware=dict(devices=jax.device_count(), kind=device.device_kind, machine=platform.machine()),
    versions=versions(),
    seed=experiment.config.seed,
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


def written(path: pathlib.Path) -> list[pathlib.Path]:
  """What a user may want to open, the report first."""
  wanted = (
    "report.html",
    "results.json",
    native.FILE,
    "metrics.jsonl",
    "config.json",
    "reconstructions",
    "checkpoints",
  )
  return [path / name for name in wanted if (path / name).exists()]


def first() -> bool:
  """Whether this process speaks and writes for the run."""
  return jax.process_index() == 0


def say(text: str) -> None:
  """A line for the person at the terminal."""
  if first():
    print(text, flush=True)
