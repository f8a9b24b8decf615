"""Import of published weights: recognise the layout, rename, read."""

import re

import ml_collections
import numpy as np

from mim_jax import config as config_lib
from mim_jax import errors, objectives
from mim_jax.ops import positions
from mim_jax.weights import layouts, parts, reshaping, table
from mim_jax.weights.layouts import base, conv

IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def read(
  source: base.Source, leave: tuple[str, ...] = ()
) -> tuple[dict, ml_collections.ConfigDict]:
  """Reads our (variables, config) from a published file.

  The config has `parts`, the view of images that the network wants (`data.view`), what is known of
  its data and target, and `source`: which layout, and which of its arrays were left out. InputError
  where an array is missing, has no place (unless `leave`, a list of patterns, names it), or has the
  wrong shape.
  """
  layout, source, seen = recognise(source)
  config = ml_collections.ConfigDict(dict(parts=layout.read(layout, source)))
  config.data = dict(view=view(layout, config, source, seen))
  if "num_frames" in source.config:
    config.data.frames = source.config["num_frames"]
  if "norm_pix_loss" in source.config:
    config.objective = dict(target=dict(normalize=source.config["norm_pix_loss"]))
  config.modality = {config_lib.KEY: "mim_jax.modalities.Image"}  # the room lies above this one
  kind = "Video" if "tubelet" in config.parts.tokenizer else "Image"
  config.modality = {config_lib.KEY: f"mim_jax.modalities.{kind}"}  # that room lies above this one
  config.encode = config_lib.part(objectives.encode, entry="image")
  known = parts.settings(config.parts.encoder)
  replaces = known.masking == "replace" or conv.is_a("Swin")(config.parts)
  masked = not replaces or "encoder/mask_token" in seen
  fixed = computed(layout, config)
  wanted = parts.shapes(config, masked) | {name: x.shape for name, x in fixed.items()}
  found = table.pairs(layout.table, wanted, rules_for(config))
  found = [p for p in found if p.ours not in fixed or p.theirs[0] in source.arrays]
  made = table.to_ours(found, source.arrays, (*layout.left, *leave))
  for name in made.keys() & fixed.keys():
    if not np.allclose(made.pop(name), fixed[name], atol=1e-4):
      raise errors.InputError(
        f"weights: {table.name_of(layout.table, name)!r} are not the sine-cosine positions that "
        f"ours has for {name!r}."
      )
  left = tuple(sorted(table.unused(found, source.arrays, ())))
  config.source = dict(layout=layout.name, left=left)
  return parts.unflat(made), config


def recognise(source: base.Source) -> tuple[base.Layout, base.Source, dict]:
  """Finds the layout that fits most of the arrays, these by its names, and which of ours they make.

  InputError where none fits.
  """
  kind = source.config.get("model_type")
  best = None
  for layout in layouts.ALL:
    if kind in layouts.KINDS and (layout.format != "hf" or layout.kind.split()[0] != kind):
      continue
    renamed = base.Source(
      rename(layout, source.arrays), source.config, source.preprocessor, source.options
    )
    seen = table.look(layout.table, renamed.shapes())
    if seen and layout.own(seen) and (best is None or len(seen) > len(best[2])):
      best = layout, renamed, seen
  if best is None or first_kernel(best[2]) is None:
    shown = ", ".join(sorted(source.arrays)[:3]) or "none at all"
    raise errors.InputError(
      f"weights: no layout known here has such arrays: {shown}. Known: "
      f"{', '.join(layout.name for layout in layouts.ALL)}."
    )
  return best


def first_kernel(seen: dict) -> tuple[int, ...] | None:
  """Finds the shape of their kernel that reads the pixels, [d c *s]."""
  return seen.get("tokenizer/embed/kernel") or seen.get("encoder/stem/kernel")


def rename(layout: base.Layout, arrays: dict) -> dict:
  """Renames arrays to the layout's names.

  Wrappers of training scripts are removed, aliases replaced, the prefix put back.
  """
  for wrapper in layout.wrappers:
    arrays = {k.removeprefix(wrapper): x for k, x in arrays.items()}
  for pattern, replacement in layout.aliases:
    arrays = {re.sub(pattern, replacement, k): x for k, x in arrays.items()}
  if layout.prefix and not any(name.startswith(layout.prefix) for name in arrays):
    arrays = {layout.prefix + k: x for k, x in arrays.items()}
  return layout.first(arrays)


def view(layout: base.Layout, config, source: base.Source, seen: dict) -> dict:
  """Makes the node of the view that a network wants: its image size, mean and std."""
  beside = ("preprocess_cfg", "pretrained_cfg")  # of open_clip, of timm
  told: dict = {k: x for name in beside for k, x in source.config.get(name, {}).items()}
  stated = source.config.get("vision_config", source.config).get("image_size", 224)
  size = source.options.get("image") or tuple(told.get("input_size", ()))[1:] or stated
  size = (size, size) if isinstance(size, int) else tuple(size)
  if known := parts.settings(config.parts.encoder).grid:
    size = tuple(side * config.parts.tokenizer.patch for side in known)
  kernel = first_kernel(seen)
  channels = kernel[1] if kernel else 3
  norm: dict = dict(mean=(0.5,) * channels, std=(0.25,) * channels)
  norm = IMAGENET | layout.view if channels == 3 else norm
  mean = tuple(source.preprocessor.get("image_mean", told.get("mean", norm["mean"])))
  std = tuple(source.preprocessor.get("image_std", told.get("std", norm["std"])))
  # The data room lies above this one, so its function is named and not imported.
  crop = "mim_jax.data.image.center_crop"
  return {
    config_lib.KEY: crop,
    "size": size,
    "resize": 1 / told.get("crop_pct", layout.view.get("crop_pct", 0.875)),
    "mean": mean,
    "std": std,
  }


def computed(layout: base.Layout, config) -> dict[str, np.ndarray]:
  """Computes what the layout stores and we don't: fixed positions, by our names in its table."""
  found = {}
  for part, owner in (("encoder", "tokenizer"), ("predictor", "predictor")):
    node = config.parts.get(part, {})
    if parts.settings(node).positions != "sincos" or not table.name_of(
      layout.table, f"{part}/positions_table"
    ):
      continue
    d, k = config.parts[owner].width, config.parts.encoder.class_tokens
    code = positions.sincos(positions.grid_positions(parts.grid(config)), d)
    found[f"{part}/positions_table"] = np.asarray(code)[None]
    if k:
      found[f"{part}/class_positions"] = np.zeros((1, k, d), np.float32)
  return found


def rules_for(config) -> dict[str, reshaping.Rule]:
  """Makes the reshaping rules for the config's patches."""
  tokenizer, head = config.parts.tokenizer, config.parts.get("predictor", {})
  cube = (tokenizer.get("tubelet"), tokenizer.patch, tokenizer.patch)
  return reshaping.rules(
    tuple(side for side in cube if side), len(config.data.view.mean), head.get("cell") or 1
  )
