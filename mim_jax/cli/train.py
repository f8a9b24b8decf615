"""`mim-jax train`: pre-training of a method into a run folder."""

import argparse

from mim_jax import errors
from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Trains, evaluates, reports; ends by naming the files to open."""
  options, overrides = parser().parse_known_args(argv)
  if options.compile_only != bool(options.topology) or options.compile_only == bool(
    options.workdir
  ):
    raise errors.InputError(
      "train: give --workdir=DIR to train, or --compile-only --topology=NAME to compile only."
    )
  config = arguments.config(options.config, overrides)
  if options.compile_only:
    return compile_only(config, options.topology)

  from mim_jax import run  # late: needs jax and all libraries
  from mim_jax.devices import compilation_cache, distributed

  compilation_cache.start()
  distributed.start(options.distributed, options.heartbeat)
  with distributed.together(options.heartbeat):
    facts = run.run(config, options.workdir)
  if run.is_main_process():
    arguments.name_run(options.workdir)
  return 128 + facts["signal"] if facts["signal"] else 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax train`; options it does not know set keys of the config."""
  made = arguments.parser(
    "train",
    "--config=FILE.py[:ARGUMENTS] --workdir=DIR [OPTION ...]",
    "Pre-train a method and write everything into a run folder. The same command\n"
    "resumes. Any key can be set: --config.train.steps=200 --config.train.wandb=NAME",
    "mim-jax train --config=mae:dataset=embedded --workdir=runs/mae",
  )
  made.add_argument(
    "--config", required=True, metavar="FILE.py[:ARGUMENTS]", help="a config file, or its name"
  )
  made.add_argument("--workdir", metavar="DIR", help="the run folder; made if absent")
  made.add_argument(
    "--compile-only",
    action="store_true",
    help="say what a step needs on --topology; train nothing",
  )
  made.add_argument(
    "--topology",
    default="",
    metavar="NAME",
    help="TPUs v4-N v5e-N v5p-N v6e-N, a100-N h100-N h200-N, cpu-N",
  )
  made.add_argument(
    "--distributed",
    action="store_true",
    help="one of several processes (Slurm, MPI, TPU pod)",
  )
  made.add_argument(
    "--heartbeat",
    type=int,
    default=100,
    metavar="SECONDS",
    help="one silent for so long ends all (100)",
  )
  return made


def compile_only(config, name: str) -> int:
  """Compiles a step of `config` for the machine `name`, and prints what it would need."""
  from mim_jax import experiment as experiment_lib
  from mim_jax.devices import topology

  devices, limit = topology.devices(name)
  experiment = experiment_lib.build(config, devices=devices)
  facts = topology.compile_only(experiment.trainable, limit)
  print(topology.in_words(name, facts, experiment.spec.mesh.shape))
  return 0
