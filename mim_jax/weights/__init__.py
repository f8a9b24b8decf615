"""Published checkpoints in and out: `load`, `convert`; `from_run` to start from."""

from typing import Any

_HOMES = {
  "convert": "mim_jax.weights.conversion",
  "from_run": "mim_jax.weights.native",
  "load": "mim_jax.weights.conversion",
}


def __getattr__(name: str) -> Any:
  """Imports `weights.load` and the like when first asked for."""
  import importlib

  if name in _HOMES:
    return getattr(importlib.import_module(_HOMES[name]), name)
  raise AttributeError(f"module 'mim_jax.weights' has no attribute {name!r}")
