"""Kinds of signals: how each is read, viewed, shown and evaluated, one file each.

A file has what a recipe asks for when a config is written (EMBEDDED, DATASET, SHAPE, data, patch;
COUNTED, where its embedded samples are far from the published shape),
and a record, named by the config as `c.modality`, which the rooms behind training ask:

  entry, unit       what the batch calls it, and what people do: "image", "images"
  raw(inputs)       a raw batch of arrays of a user
  own(path, data)   a Source of a user's own files, as `data` of a config has them
  plain(viewed)     the baseline that learns nothing: [b e], or with `patch` [b n e]
  paint(panels, v)  panels {name: array} as images in [0, 1], on the scale of the view `v`
  still(viewed)     one image of each sample, [b h w c], on the view's scale
  change(key, viewed, seen)   other values where `seen` [b n] says hidden, on the mask's `grid`
  evaluations(config)         {name: node} that it offers beside those of any modality
"""

import importlib
import pkgutil
import types
from typing import Any

from mim_jax import errors


def names() -> list[str]:
  """Lists the modalities there are: the files of this folder."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def named(name: str) -> types.ModuleType:
  """Finds the modality of that name; InputError for one that does not exist."""
  if name not in names():
    raise errors.unknown("modality", name, names())
  return importlib.import_module(f"{__name__}.{name}")


def __getattr__(name: str) -> Any:
  """Finds a record by its class: `modalities.Image` is that of image.py."""
  if name.lower() in names() and name == name.capitalize():
    return getattr(named(name.lower()), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
