"""Kinds of signals: how each is read, viewed, shown and evaluated, one file each.

A file has what a recipe asks for when a config is written (EMBEDDED, DATASET, SHAPE, data, patch),
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
import pathlib
import types

from mim_jax import errors
from mim_jax.modalities.image import Image as Image
from mim_jax.modalities.pool import Pool as Pool
from mim_jax.modalities.text import Text as Text
from mim_jax.modalities.video import Video as Video


def names() -> list[str]:
  """Lists the modalities there are."""
  here = pathlib.Path(__file__).parent
  return sorted(p.stem for p in here.glob("*.py") if p.stem != "__init__")


def named(name: str) -> types.ModuleType:
  """Finds the modality of that name; InputError for one that does not exist."""
  if name not in names():
    raise errors.unknown("modality", name, names())
  return importlib.import_module(f"mim_jax.modalities.{name}")
