"""The parts that a config names, as one Linen module, and the names and shapes of their arrays."""

import math
import types
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mim_jax import config as config_lib
from mim_jax import core


def parts_of(config) -> nn.Module:
  """Builds the parts that a config names, unbound."""
  allow = tuple(config.get("allow_modules", ()))
  return gather_parts(config_lib.build(config.parts, allow, "parts"))


def gather_parts(modules: dict[str, nn.Module]) -> nn.Module:
  """Gathers modules as attributes of one Linen module: parameters lie under their names."""
  kind = type("Parts", (nn.Module,), {"__annotations__": dict.fromkeys(modules, nn.Module)})
  return kind(**modules)


def settings(encoder) -> types.SimpleNamespace:
  """Says flatly what layouts and evaluations ask of an encoder's node.

  Its settings and those of its stack, and words for its parts: positions "sincos", "learned",
  "none", with grid, antialias and grid_offset of learned ones; relative "shared", "each" or None;
  masking "drop" or "replace"; None where the encoder has no such setting.
  """
  flat: dict[str, Any] = dict(encoder) | dict(encoder.get("stack", {}))
  words = dict(SinCos="sincos", Learned="learned", NoPositions="none", Drop="drop")
  words |= dict(Replace="replace", RelativeTable="shared")
  for name in ("positions", "relative", "masking"):
    node = flat.get(name) or {}
    kind = node.get("part", "").rpartition(".")[2]
    flat[name] = words.get(kind, kind) or None
  table, relative = (encoder.get(name) or {} for name in ("positions", "relative"))
  flat["relative"] = "each" if relative.get("each") else flat["relative"]
  flat["grid"] = table.get("grid")
  flat["antialias"], flat["grid_offset"] = table.get("antialias"), table.get("grid_offset")
  return types.SimpleNamespace(**flat)


def shapes(config, masked: bool = True) -> dict[str, tuple[int, ...]]:
  """Computes {name: shape} of all arrays of the config's tokenizer, encoder, predictor, head.

  Without `masked` the encoder sees everything, so that one without a mask token needs none.
  """
  parts, view = parts_of(config), config.data.view
  image = jnp.zeros((1, *view.size, len(view.mean)))
  if "tubelet" in config.parts.tokenizer:
    image = jnp.broadcast_to(image[:, None], (1, config.parts.tokenizer.tubelet, *image.shape[1:]))

  def run(parts):
    tokens = parts.tokenizer(image)
    n = tokens.positions.shape[1]
    if "head" in config.parts:
      seen = parts.encoder(tokens)
      parts.head(seen if "pool" in config.parts.head else seen.values)
    if not masked:
      return parts.encoder(tokens)
    order = jnp.arange(n, dtype=jnp.int32)[None]
    mask = core.make_mask(tokens, order[:, : -(-n // 2)], order[:, -(-n // 2) :])
    latents = parts.encoder(tokens, mask)
    return parts.predictor(latents, mask) if "predictor" in config.parts else latents

  found = jax.eval_shape(lambda: parts.init(jax.random.key(0), method=run))
  return {name: x.shape for name, x in flat(found).items()}


def flat(variables: dict) -> dict:
  """Flattens {"params": {"encoder": ...}} to {"encoder/...": x}.

  Other collections keep their name.
  """
  pairs = jax.tree_util.tree_leaves_with_path(variables)
  names = ["/".join(str(key.key) for key in path) for path, _ in pairs]
  return {name.removeprefix("params/"): x for name, (_, x) in zip(names, pairs, strict=True)}


def unflat(arrays: dict, collections: tuple[str, ...] = ("batch_stats",)) -> dict:
  """Undoes `flat`."""
  tree: dict = {}
  for name, value in arrays.items():
    path = name.split("/")
    path = path if path[0] in collections else ["params", *path]
    node = tree
    for key in path[:-1]:
      node = node.setdefault(key, {})
    node[path[-1]] = value
  return tree


def grid(config) -> tuple[int, ...]:
  """Counts tokens along each axis of an image as the config's view cuts it."""
  return tuple(side // config.parts.tokenizer.patch for side in config.data.view.size)


def tokens(config) -> int:
  """Counts the tokens of such an image."""
  return math.prod(grid(config))
