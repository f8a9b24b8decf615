"""Kinds of signals: how each is read, viewed, shown and evaluated, one file each."""

import importlib
import pathlib

from mim_jax import errors


def names() -> list[str]:
  """Names the modalities there are."""
  here = pathlib.Path(__file__).parent
  return sorted(p.stem for p in here.glob("*.py") if p.stem != "__init__")


def named(name: str):
  """Finds the modality of that name; InputError for one that does not exist."""
  if name not in names():
    raise errors.unknown("modality", name, names())
  return importlib.import_module(f"mim_jax.modalities.{name}")
