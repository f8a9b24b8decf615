"""Masked modelling pre-training in JAX: a method is a short config over shared, proven parts."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["build", "get_config", "part"]

_HOMES = {"build": "mim_jax.experiment", "get_config": "mim_jax.config", "part": "mim_jax.config"}


def __getattr__(name: str) -> Any:
  """`mim_jax.build` and the like, imported when first asked for: importing costs nothing."""
  import importlib

  if name in _HOMES:
    return getattr(importlib.import_module(_HOMES[name]), name)
  raise AttributeError(f"module 'mim_jax' has no attribute {name!r}")
