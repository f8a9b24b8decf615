"""What the commands share: a parser with an example, and configs with overrides."""

import argparse

from absl import flags
from ml_collections import config_flags

from mim_jax import config as config_lib
from mim_jax import errors


def parser(command: str, text: str, example: str) -> argparse.ArgumentParser:
  """An argument parser whose help ends with an example."""
  return argparse.ArgumentParser(
    prog=f"mim-jax {command}",
    description=text,
    epilog=f"example: {example}",
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )


def config(spec: str, overrides: list[str]):
  """The config `file.py:arguments` (or `name:arguments`) with `--config.a.b=value` overrides,
  type-checked.

  Errors: InputError for unknown configs, arguments and keys (with the nearest), and wrong types.
  """
  name, _, arg = spec.partition(":")
  return overridden(config_lib.get_config(name, arg), overrides)


def overridden(made, overrides: list[str]):
  """A config with `--config.a.b=value` overrides, type-checked.

  Errors: InputError for unknown keys (with the nearest), and wrong types.
  """
  for item in overrides:
    key = item.partition("=")[0].removeprefix("--config.")
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
  return values.config


def name_files(workdir: str) -> None:
  """Prints the paths that a run has written, the one to open first."""
  import pathlib

  from mim_jax import run

  print("\nwritten:")
  for path in run.written(pathlib.Path(workdir)):
    print(f"  {path}")
