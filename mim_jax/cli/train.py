"""`mim-jax train`."""

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
  from mim_jax.train import cache, distributed

  cache.start()
  distributed.start(options.distributed, options.heartbeat)
  with distributed.together(options.heartbeat):
    facts = run.run(config, options.workdir)
  if facts["signal"]:
    return 128 + facts["signal"]
  if run.first():
    arguments.name_files(options.workdir)
  return 0


def parser() -> argparse.ArgumentParser:
  """The options of `mim-jax train`; what it does not know sets keys of the config."""
  made = arguments.parser(
    "train",
    "Pre-train a method and write everything into a run folder. The same command resumes.",
    "mim-jax train --config=configs/mae.py:dataset=folder,path=photos --workdir=runs/photos\n"
    "any key can be set: --config.train.steps=200 --config.objective.mask.ratio=0.6",
  )
  made.add_argument(
    "--config", required=True, metavar="FILE.py[:ARGUMENTS]", help="a config file, or its name"
  )
  made.add_argument("--workdir", metavar="DIR", help="the run folder; made if absent")
  made.add_argument(
    "--compile-only",
    action="store_true",
    help="compile the step for --topology, say what it needs there, and train nothing",
  )
  made.add_argument(
    "--topology",
    default="",
    metavar="NAME",
    help="v4-N, v5e-N, v5p-N, v6e-N (TPUs), a100-N, h100-N, h200-N (GPUs) or cpu-N",
  )
  made.add_argument(
    "--distributed",
    action="store_true",
    help="this is one of several processes (Slurm, Open MPI, Kubernetes, TPU pod)",
  )
  made.add_argument(
    "--heartbeat",
    type=int,
    default=100,
    metavar="SECONDS",
    help="a process that is silent for so long ends all others",
  )
  return made


def compile_only(config, name: str) -> int:
  """Says what a step of `config` would need on the machine `name`."""
  from mim_jax import experiment as experiment_lib
  from mim_jax.train import topology

  devices, limit = topology.devices(name)
  experiment = experiment_lib.Experiment(config, devices=devices)
  facts = topology.compile_only(experiment, limit)
  print(topology.in_words(name, facts, experiment.mesh.shape))
  return 0
