"""`mim-jax evaluate`: evaluations of a run folder or of weights."""

import argparse
import pathlib

from mim_jax import errors
from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Runs evaluations on a run folder or on weights, and prints the table."""
  options, overrides = parser().parse_known_args(argv)
  if options.list:
    return list_evaluations()
  if not (options.workdir or options.weights) or (options.config and not options.weights):
    raise errors.InputError(
      "evaluate: give --workdir=RUN, or --weights=PATH with --config=CONFIG (whose data to use)."
    )

  from mim_jax import run
  from mim_jax.devices import compilation_cache
  from mim_jax.train import folder

  compilation_cache.start()
  only = [name for name in options.evals.split(",") if name]
  if options.weights:
    return evaluate_weights(options, only, overrides)
  experiment, state = run.restored(options.workdir)
  with folder.opened(options.workdir, experiment.spec.config) as path:
    experiment.spec.config, names = select_evaluations(experiment.spec.config, only, overrides)
    run.evaluate_and_report(experiment, state, path, only=names)
  arguments.name_run(options.workdir)
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax evaluate`; options it does not know set evaluations."""
  made = arguments.parser(
    "evaluate",
    "--workdir=DIR | --weights=PATH [OPTION ...]",
    "Run evaluations on the newest checkpoint of a run folder (brings results.json\n"
    "and report.html up to date), or on a weights file or folder, anybody's:\n"
    "--weights=vit-mae-base --config=mae:dataset=folder,path=photos\n"
    "Any setting: --config.evaluations.attentive.epochs=5",
    "mim-jax evaluate --workdir=runs/digits --evals=knn,attentive",
  )
  made.add_argument("--workdir", metavar="DIR", help="a run folder; with --weights, for results")
  made.add_argument("--weights", metavar="PATH", help="weights file, or folder of such")
  made.add_argument("--config", metavar="FILE.py[:ARGUMENTS]", help="whose data --weights see")
  made.add_argument(
    "--evals", default="", metavar="NAME,NAME", help="which; default: the config's; all: every"
  )
  made.add_argument("--list", action="store_true", help="only name what --evals may name")
  return made


def evaluate_weights(options, only: list[str], overrides: list[str]) -> int:
  """Runs evaluations on weights: the table, and results.json if there is a folder for it."""
  from mim_jax import assess, run
  from mim_jax.evaluate import runner

  config = (
    arguments.config(options.config, []) if options.config else assess.config_of(options.weights)
  )
  config, names = select_evaluations(config, only, overrides)
  path = pathlib.Path(options.workdir) if options.workdir else None
  found = assess.evaluate_weights(options.weights, config, names, path and path / run.CACHE)
  print(runner.table(found["evaluations"]))
  print(f"\nweights: {found['source']['path']}\n  sha256 {found['source']['sha256']}")
  if path:
    results = run.read_results(path)
    run.write_results(path, results | found)
    arguments.name_run(path)
  return 0


def select_evaluations(config, only: list[str], overrides: list[str]):
  """Makes (config with every evaluation that can be named and the overrides, the names to run)."""
  from mim_jax import assess
  from mim_jax import config as config_lib

  for item in overrides:
    if not item.startswith("--config.evaluations."):
      raise errors.InputError(
        f"{item!r} is not an option here. Settings of evaluations look like "
        "--config.evaluations.knn.k=10; mim-jax evaluate --list names them."
      )
  own = [name for name, node in config.evaluations.items() if config_lib.is_node(node)]
  every = assess.offered(config)
  config = config.copy_and_resolve_references()
  config.unlock()
  for name, node in every.items():
    if name not in config.evaluations:
      config.evaluations[name] = node
  config.lock()
  names = list(every) if only == ["all"] else only or own
  return arguments.overridden(config, overrides), names


def list_evaluations() -> int:
  """Prints the standard evaluations, each with what it measures and its settings."""
  from mim_jax import assess
  from mim_jax import config as config_lib

  for name, node in assess.offered(config_lib.get_config("mae")).items():
    function = config_lib.build(node).func
    print(f"{name:<16} {function.__doc__.splitlines()[0]}")
    settings = [f"{k}={v}" for k, v in config_lib.flatten(node).items() if k != config_lib.KEY]
    print(f"{'':<17}{', '.join(settings)}")
  return 0
