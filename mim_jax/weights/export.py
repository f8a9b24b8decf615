"""Our weights written as others write theirs."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from mim_jax import errors
from mim_jax.weights import layouts, parts, published, table
from mim_jax.weights.layouts import base

FILE, CONFIG, PREPROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"


def write(folder: pathlib.Path, variables: dict, config, *, format: str, note: dict) -> list[str]:
  """Writes ours as `format` ("hf", or "hf:vit" for one kind of it): our names it has no place for.

  Files: model.safetensors with `note` in its metadata, and config.json and preprocessor_config.json
  where the format has them. InputError where no kind of it can hold the encoder.
  """
  flat, config = normal(parts.flat(jax.device_get(variables)), config)
  layout = choose(format, config)
  kept = ("tokenizer", "encoder", "predictor")[: 3 if holds_predictor(layout, config) else 2]
  config.parts = {name: config.parts[name] for name in kept}
  ours = {k: x for k, x in flat.items() if k.removeprefix("batch_stats/").split("/")[0] in kept}
  fixed = published.computed(layout, config)
  every = ours | fixed
  if layout.fused:
    every, config = fused_biases(every, config)
  shapes = {name: x.shape for name, x in every.items()}
  found = table.pairs(layout.table, shapes, published.rules_for(config))
  theirs = table.to_theirs(found, every) | layout.made(config)
  whole = "predictor" in config.parts
  if layout.prefix and not whole:
    theirs = {k.removeprefix(layout.prefix): x for k, x in theirs.items()}
  folder.mkdir(parents=True, exist_ok=True)
  metadata = {"format": "pt"} | {k: str(v) for k, v in note.items() if v}
  safetensors.numpy.save_file(theirs, folder / FILE, metadata=metadata)
  if layout.write:
    _json(folder / CONFIG, described(layout, config, whole))
    _json(folder / PREPROCESSOR, preprocessor(layout, config))
  return sorted(flat.keys() - ours.keys())


def written(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files that `write` has made there."""
  return [folder / name for name in (FILE, CONFIG, PREPROCESSOR) if (folder / name).exists()]


def choose(format: str, config) -> base.Layout:
  """The layout by name, or the first of the format that can hold the encoder; else InputError."""
  named = [x for x in layouts.ALL if format in (x.format, x.name)]
  if not named:
    allowed = {x.format for x in layouts.ALL} | {x.name for x in layouts.ALL} | {"mim_jax"}
    raise errors.unknown("--format", format, allowed)
  fit = [x for x in named if x.name == format or x.fits(config.parts)]
  if not fit:
    shown = {k: v for k, v in config.parts.encoder.items() if v not in (None, False, 0)}
    raise errors.InputError(
      f"--format={format}: no network of that format has this encoder: {shown}. Its kinds: "
      f"{', '.join(x.name for x in named)}. Choose another format, or --format=mim_jax."
    )
  return fit[0]


def holds_predictor(layout: base.Layout, config) -> bool:
  """Whether the layout has a place for the config's predictor."""
  ours = config.parts.get("predictor", {}).get("part", "").rpartition(".")[2]
  return bool(ours) and ours == layout.predictor


def normal(flat: dict[str, np.ndarray], config) -> tuple[dict[str, np.ndarray], Any]:
  """The same network with one set of arrays for each block, where blocks are stacked for a scan."""
  config = config.copy_and_resolve_references()
  config.unlock()
  made = {}
  for name, x in flat.items():
    before, stacked, after = name.partition("/blocks/")
    if stacked:
      made |= {f"{before}/block_{i:02d}/{after}": layer for i, layer in enumerate(x)}
    else:
      made[name] = x
  for node in config.parts.values():
    if "scan" in node:
      node.scan = False
  return made, config


def fused_biases(flat: dict[str, np.ndarray], config) -> tuple[dict[str, np.ndarray], Any]:
  """The same network with one bias of queries, keys (zero) and values in the encoder's blocks."""
  made = dict(flat)
  for name in [k for k in flat if k.startswith("encoder/") and k.endswith("/query_bias")]:
    value = name.replace("query_bias", "value_bias")
    query = made.pop(name)
    made[name.replace("query_bias", "qkv/bias")] = np.concatenate(
      [query, np.zeros_like(query), made.pop(value)]
    )
  return made, config


def described(layout: base.Layout, config, whole: bool) -> dict[str, Any]:
  """config.json."""
  more = layout.write(config) if layout.write else {}
  return dict(architectures=[layout.classes[whole]], model_type=layout.kind.split()[0]) | more


def preprocessor(layout: base.Layout, config) -> dict[str, Any]:
  """preprocessor_config.json: bicubic resize, crop, 1/255, mean and deviation."""
  view = config.data.view
  height, width = view.size
  return dict(
    image_processor_type=layout.processor,
    do_resize=True,
    size=dict(height=height, width=width),
    resample=3,
    do_rescale=True,
    rescale_factor=1 / 255,
    do_normalize=True,
    image_mean=list(view.mean),
    image_std=list(view.std),
  )


def _json(file: pathlib.Path, content: dict) -> None:
  file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
