"""Export of our weights to the layouts of others."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from mim_jax import errors, layers
from mim_jax.config import part
from mim_jax.weights import layouts, parts, published, table
from mim_jax.weights.layouts import base

FILE, CONFIG, PREPROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
MASK_TOKEN = "encoder/mask_token"


def write(folder: pathlib.Path, variables: dict, config, *, format: str, note: dict) -> list[str]:
  """Writes weights as `format` ("hf", or "hf:vit" for one kind of it).

  Returns our names it has no place for. Files: model.safetensors with `note` in its metadata, and
  config.json and preprocessor_config.json where the format has them. InputError where no kind of it
  can hold the encoder.
  """
  flat, config = normal(parts.flat(jax.device_get(variables)), config)
  layout = choose(format, config)
  beside = held(layout, config)
  kept = ("tokenizer", "encoder", beside) if beside else ("tokenizer", "encoder")
  config.parts = {name: config.parts[name] for name in kept}
  ours = {k: x for k, x in flat.items() if k.removeprefix("batch_stats/").split("/")[0] in kept}
  # A network that sees everything needs no stand-in for masked tokens.
  if table.name_of(layout.table, MASK_TOKEN) is None:
    ours.pop(MASK_TOKEN, None)
  if MASK_TOKEN not in ours and "masking" in config.parts.encoder:
    config.parts.encoder.masking = part(layers.Drop)  # config.json is to promise none
  fixed = published.computed(layout, config)
  every = ours | fixed
  if layout.fused:
    every, config = fused_biases(every, config)
  shapes = {name: x.shape for name, x in every.items()}
  found = table.pairs(layout.table, shapes, published.rules_for(config))
  theirs = layout.made(config) | layout.last(table.to_theirs(found, every))
  alone = not (beside and config.parts[beside].get("count", 1))  # of 0 classes it is a norm
  if layout.prefix and alone:
    theirs = {k.removeprefix(layout.prefix): x for k, x in theirs.items()}
  folder.mkdir(parents=True, exist_ok=True)
  metadata = {"format": "pt"} | {k: str(v) for k, v in note.items() if v}
  safetensors.numpy.save_file(theirs, folder / FILE, metadata=metadata)
  if layout.write:
    _json(folder / CONFIG, described(layout, config, "" if alone else beside))
    _json(folder / PREPROCESSOR, preprocessor(layout, config))
  return sorted(flat.keys() - ours.keys())


def written(folder: pathlib.Path) -> list[pathlib.Path]:
  """Lists the files that `write` has made there."""
  return [folder / name for name in (FILE, CONFIG, PREPROCESSOR) if (folder / name).exists()]


def choose(format: str, config) -> base.Layout:
  """Chooses the layout by name, or the first of the format that can hold the encoder.

  Else InputError.
  """
  named = [x for x in layouts.ALL if format in (x.format, x.name)]
  if not named:
    allowed = {x.format for x in layouts.ALL} | {x.name for x in layouts.ALL} | {"mim_jax"}
    raise errors.unknown("--format", format, allowed)
  fit = [x for x in named if x.name == format or x.fits(config.parts)]
  if not fit:
    known = vars(parts.settings(config.parts.encoder)).items()
    shown = {k: v for k, v in known if k != "stack" and v not in (None, False, 0, ())}
    raise errors.InputError(
      f"--format={format}: no network of that format has this encoder: {shown}. Its kinds: "
      f"{', '.join(x.name for x in named)}. Choose another format, or --format=mim_jax."
    )
  return max(fit, key=lambda x: bool(held(x, config)))


def held(layout: base.Layout, config) -> str:
  """Names what the layout can hold beside the encoder: "predictor", "head", or "" for nothing."""
  for name in ("predictor", "head"):
    node = config.parts.get(name, {})
    ours = node.get("part", "").rpartition(".")[2]
    if ours and ours == getattr(layout, name) and (name != "head" or _same(layout, node)):
      return name
  return ""


def _same(layout: base.Layout, head) -> bool:
  """Tells whether the exported classifier pools the same features as ours."""
  if "pool" not in head or layout.pool == "any":
    return True
  norm = table.name_of(layout.table, "head/norm/scale") is not None
  return head.pool == layout.pool and head.norm == norm


def normal(flat: dict[str, np.ndarray], config) -> tuple[dict[str, np.ndarray], Any]:
  """Unstacks blocks that are stacked for a scan: one set of arrays for each block."""
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
    for holder in (node, node.get("stack", {})):
      if "scan" in holder:
        holder.scan = False
  return made, config


def fused_biases(flat: dict[str, np.ndarray], config) -> tuple[dict[str, np.ndarray], Any]:
  """Fuses the biases of queries, keys (zero) and values in the encoder's blocks into one."""
  made = dict(flat)
  for name in [k for k in flat if k.startswith("encoder/") and k.endswith("/query_bias")]:
    value = name.replace("query_bias", "value_bias")
    query = made.pop(name)
    made[name.replace("query_bias", "qkv/bias")] = np.concatenate(
      [query, np.zeros_like(query), made.pop(value)]
    )
  return made, config


def described(layout: base.Layout, config, beside: str) -> dict[str, Any]:
  """Makes config.json."""
  more = layout.write(config) if layout.write else {}
  name = layout.labelled if beside == "head" else layout.classes[beside == "predictor"]
  if not name:
    return more
  labels = dict(num_labels=config.parts.head.count) if beside == "head" else {}
  return dict(architectures=[name], model_type=layout.kind.split()[0]) | labels | more


def preprocessor(layout: base.Layout, config) -> dict[str, Any]:
  """Makes preprocessor_config.json: bicubic resize, crop, 1/255, mean and std."""
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
