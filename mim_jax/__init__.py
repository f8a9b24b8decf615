"""Masked modelling pre-training in JAX: a method is a short config over shared, proven parts."""

import pathlib
import sys
import types
from typing import Any

__version__ = "0.2.0"
__all__ = ["build", "get_config", "part"]

_HOMES = {"build": "mim_jax.experiment", "get_config": "mim_jax.config", "part": "mim_jax.config"}

# In a checkout the configs lie at its top. They are bound to this package by their place, so that
# one checkout never gets another's.
_home = pathlib.Path(__file__).parent
if not (_home / "configs").is_dir():
  _configs = types.ModuleType("mim_jax.configs", "The configs, one file a method.")
  _configs.__path__ = [str(_home.parent / "configs")]
  sys.modules["mim_jax.configs"] = _configs


def __getattr__(name: str) -> Any:
  """`mim_jax.build` and the like, imported when first asked for: importing costs nothing."""
  import importlib

  if name in _HOMES:
    return getattr(importlib.import_module(_HOMES[name]), name)
  raise AttributeError(f"module 'mim_jax' has no attribute {name!r}")
