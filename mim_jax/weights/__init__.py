"""Published checkpoints in and out: `load`, `convert`; `native` for our own file."""

from typing import Any

_HOMES = {"convert": "mim_jax.weights.conversion", "load": "mim_jax.weights.conversion"}


def __getattr__(name: str) -> Any:
  """`weights.load` and `weights.convert`, imported when first asked for."""
  import importlib

  if name in _HOMES:
    return getattr(importlib.import_module(_HOMES[name]), name)
  raise AttributeError(f"module 'mim_jax.weights' has no attribute {name!r}")
