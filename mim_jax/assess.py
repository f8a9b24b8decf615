"""What was learnt: the evaluations of a config or by name, of runs and of published weights."""

import functools
import pathlib

import jax
import numpy as np

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax import experiment as experiment_lib
from mim_jax.evaluate import held_out, network, runner, standard
from mim_jax.pictures import grid, inspection
from mim_jax.weights import conversion, native


def evaluate(experiment, state, results: dict, only=None, folder=None) -> None:
  """Runs evaluations on the state and the baselines: those of the config, or `only` these, of the
  config or of its modality. folder: where features are kept.
  """
  net = experiment.viewer.encoder(state.params, state.stats)
  random = experiment.viewer.untrained
  found = run_with_baselines(experiment, net, random, only, folder)
  results.setdefault("evaluations", {}).update(found)


def run_with_baselines(experiment, net, random, only=None, folder=None) -> dict:
  """What runner.run finds for a network and its baselines; random(seed) gives an untrained one."""
  config, data = experiment.spec.config, experiment.spec.data
  entries = select(config, only)
  seeds, plain = range(config.evaluations.seeds), experiment.viewer.plain()
  made = {
    "random": random,
    "plain": lambda seed: plain,
    "pixels": lambda seed: plain,  # as images call it
    "supervised": lambda seed: config_lib.build(standard.scratch(config))(net, data, seed),
  }
  encoders = {"pretrained": [net] * len(seeds)}
  for name in config.evaluations.baselines:
    if name not in made:
      raise errors.unknown("evaluations.baselines", name, made)
    encoders[name] = [made[name](seed) for seed in seeds]
  return runner.run(entries, encoders, data, list(seeds), folder)


def select(config, only=None) -> dict:
  """{name: (function, protocol)} of a config's evaluations, or of `only` these.

  Errors: InputError for a name that neither the config nor its modality has.
  """
  known = {name: node for name, node in config.evaluations.items() if config_lib.is_node(node)}
  if not only:
    only = list(known)
  elif not known.keys() >= set(only):
    known = offered(config) | known
  allow, entries = tuple(config.get("allow_modules", ())), {}
  view = {f"view.{key}": config.data.view.get(key) for key in ("size", "resize")}
  for name in only:
    if name not in known:
      raise errors.unknown("--evals", name, known)
    function = config_lib.build(known[name], allow, f"evaluations.{name}")
    entries[name] = function, config_lib.flatten(known[name]) | view
  return entries


def offered(config) -> dict:
  """Lists the evaluations that the config's modality offers: {name: node}."""
  allow = tuple(config.get("allow_modules", ()))
  return config_lib.build(config.modality, allow, "modality").evaluations(config)


def config_of(weights):
  """The config in a weights file of ours; InputError where the weights come without one."""
  _, config = conversion.load(weights)
  if "evaluations" not in config:
    raise errors.InputError(
      f"{weights}: these weights say nothing of data. Name a config that has some: "
      "--config=mae:dataset=folder,path=photos."
    )
  return config


def evaluate_weights(weights, config, only=None, folder=None) -> dict:
  """Evaluates weights, published or ours, on a config's data: {"source", "evaluations"}."""
  variables, own = conversion.load(weights)
  config = config.copy_and_resolve_references()
  config.unlock()
  config.parts, config.data.view = own.parts, own.data.view
  config.encode = own.encode
  experiment = experiment_lib.build(config)
  net = network.Encoder(experiment.viewer.program, variables)
  view = experiment.viewer.program.view(experiment.spec.data.train[np.arange(2)])

  def random(seed):
    return net.with_variables(experiment.viewer.program.init(jax.random.key(10_000 + seed), view))

  source = native.pinned(weights) | {k: str(v) for k, v in own.get("source", {}).items()}
  return dict(source=source, evaluations=run_with_baselines(experiment, net, random, only, folder))


def draw_reconstructions(experiment, state, path: pathlib.Path, results: dict) -> None:
  """Pictures of eight held-out images, if the method has pictures."""
  source = experiment.spec.data.test
  index = np.linspace(0, len(source) - 1, 8).astype(int)
  pictures = experiment.viewer.pictures(state, source[index])
  if pictures is not None:
    results["reconstruction"] = grid.save(path, pictures, experiment.viewer.paint)


def summarise(experiment, state, path: pathlib.Path, results: dict) -> None:
  """What the encoder makes of images, and the loss on held-out ones, for the report.

  What can't be had for this method or these images is left out, and results["missing"] says why.
  """
  data, train = experiment.spec.data, experiment.spec.config.train
  shown = inspection.Shown(experiment.spec.modality.still, experiment.viewer.paint)
  settings = path, functools.partial(experiment.viewer.apply, state), data, shown
  wanted = {
    "features": lambda: inspection.draw_seen(*settings),
    "neighbours": lambda: inspection.draw_neighbours(*settings),
    "held_out": lambda: held_out.held_out(
      experiment.trainable.loss, state, data, train.batch_size, experiment.spec.total_steps
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
