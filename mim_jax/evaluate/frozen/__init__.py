"""Evaluations of frozen features; evaluation(encode, data, seed, *, ...) -> {name: number}."""

from typing import Any

# Imported when first asked for: a config names some of them, and brings no library of the others.
_HOMES = {
  "knn": "neighbours",
  "linear_probe": "logistic",
  "masked_tokens": "masked",
  "meters": "representation",
  "outliers": "corrupted",
  "propagation": "carried",
  "retrieval": "ranked",
  "robustness": "corrupted",
  "segmentation": "pixel_classes",
}


def __getattr__(name: str) -> Any:
  """Imports an evaluation of this room."""
  import importlib

  if name in _HOMES:
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *_HOMES})
