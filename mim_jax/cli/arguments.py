"""The commands' common parts: a parser with an example, configs with overrides, paths written."""

import argparse
import functools
import os
from collections.abc import Iterable

from absl import flags
from ml_collections import config_flags

from mim_jax import config as config_lib
from mim_jax import errors

CODES = "exit codes: 0 done, 1 failed, 2 wrong input, 3 hung, 130, 143 stopped (README)"


def parser(command: str, usage: str, text: str, example: str) -> argparse.ArgumentParser:
  """Makes an argument parser whose help is one screen.

  It shows usage, what the command does, options, an example and exit codes.
  """
  return argparse.ArgumentParser(
    prog=f"mim-jax {command}",
    usage=f"%(prog)s {usage}",
    description=text,
    epilog=f"example: {example}\n{CODES}",
    formatter_class=functools.partial(
      argparse.RawDescriptionHelpFormatter, max_help_position=30, width=80
    ),
    allow_abbrev=False,
  )


def config(spec: str, overrides: list[str]):
  """Loads the config `file.py:arguments` (or `name:arguments`) with overrides, type-checked.

  Overrides are `--config.a.b=value`. Errors: InputError for unknown configs, arguments and keys
  (with the nearest), and wrong types.
  """
  name, _, arg = spec.partition(":")
  return overridden(config_lib.get_config(name, arg), overrides)


def overridden(made, overrides: list[str]):
  """Applies `--config.a.b=value` overrides to a config, type-checked.

  Steps take the place of epochs, and epochs that of steps. Errors: InputError for unknown keys
  (with the nearest), and wrong types.
  """
  keys = [item.partition("=")[0].removeprefix("--config.") for item in overrides]
  for item, key in zip(overrides, keys, strict=True):
    if not item.startswith("--config."):
      raise errors.InputError(
        f"{item!r} is not an option here. Overrides look like --config.train.steps=100."
      )
    if key not in config_lib.flatten(made):
      raise errors.unknown("--config", key, config_lib.flatten(made))
  values = flags.FlagValues()
  argv = ["mim-jax", *overrides]
  config_flags.DEFINE_config_dict("config", made, flag_values=values, sys_argv=argv)
  try:
    values(argv)
  except (flags.Error, TypeError, ValueError) as error:
    raise errors.InputError(f"config override: {error}") from error
  for given, other in (("steps", "epochs"), ("epochs", "steps")):
    if f"train.{given}" in keys and f"train.{other}" not in keys:
      values.config.train[other] = None
  if "train.batch_size" in keys and "train.fit_batch" not in keys:
    values.config.train.fit_batch = False  # who asks for a batch gets it, or an error
  return values.config


def name_run(workdir: str | os.PathLike) -> None:
  """Prints the paths in a run folder, the one to open first."""
  import pathlib

  from mim_jax import run

  name_files(run.output_files(pathlib.Path(workdir)))


def name_files(paths: Iterable) -> None:
  """Prints the paths that a command has written, as its last lines."""
  print("\nwritten:", *(f"  {path}" for path in paths), sep="\n")
