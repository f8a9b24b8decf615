"""Adaptation of imported networks to other images: channels, patches, grids, windows."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from mim_jax import errors, layers
from mim_jax.config import part
from mim_jax.ops import positions, relative_positions, resize
from mim_jax.weights import parts

KERNELS = ("tokenizer/embed", "encoder/stem")


def adapted(
  variables: dict, config, *, channels=None, patch=None, grid=None, window=None
) -> tuple[dict, Any]:
  """Adapts (variables, config) to other channels, patches, grids or windows.

  channels: of the images; one is the sum over all, others repeat the kernel and keep its scale.
  patch: side of the patches; the kernel whose tokens of enlarged patches are nearest to those of
    the old ones (FlexiViT, arXiv 2212.08013, section 3.4).
  grid: of the tokens; learned or fixed positions become learned ones of that grid, resized by a
    bicubic kernel, as fine-tuning on other sizes does.
  window: side of a Swin's windows.

  Each is None to stay unchanged. Tables of relative positions, of a grid or a window: see
  ops.relative.resized. InputError for a network that has no such thing.
  """
  if not any((channels, patch, grid, window)):
    return variables, config
  tokenizer = config.parts.tokenizer
  if "width" not in tokenizer or "tubelet" in tokenizer:
    raise errors.InputError(
      "weights: channels, patch and grid can be changed where images are cut into patches only."
    )
  config = config.copy_and_resolve_references()
  config.unlock()
  params = dict(variables["params"])
  params["tokenizer"] = dict(params["tokenizer"])
  embed = dict(params["tokenizer"]["embed"])
  old = config.parts.tokenizer.patch
  kernel = np.asarray(embed["kernel"], np.float32).reshape(old, old, -1, embed["kernel"].shape[-1])
  if channels:
    kernel = with_channels(kernel, channels)
    config.data.view.update(mean=(0.5,) * channels, std=(0.25,) * channels)
  if patch:
    kernel = with_patch(kernel, patch)
    grid = grid or tuple(side // old for side in config.data.view.size)
    config.parts.tokenizer.patch = patch
  embed["kernel"] = kernel.reshape(-1, kernel.shape[-1])
  params["tokenizer"]["embed"] = embed
  if grid or window:
    was = tuple(side // old for side in config.data.view.size)
    grid = tuple(grid or was)
    change = with_window if "window" in config.parts.encoder else with_grid
    params["encoder"] = change(params["encoder"], config, was, grid, window)
    config.data.view.size = tuple(side * config.parts.tokenizer.patch for side in grid)
  if (channels or patch) and "predictor" in config.parts:
    del config.parts.predictor  # it predicts the old patches
    params.pop("predictor")
  return {**variables, "params": params}, config


def with_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
  """Converts a kernel [p p c d] to another number of channels, as timm does it."""
  old = kernel.shape[2]
  if channels == 1:
    return kernel.sum(2, keepdims=True)
  repeated = np.concatenate([kernel] * -(-channels // old), 2)[:, :, :channels]
  return repeated * np.float32(old / channels)


def with_patch(kernel: np.ndarray, patch: int) -> np.ndarray:
  """Resizes a kernel [p p c d] to patches of another side (FlexiViT, pseudo-inverse resize)."""
  old = kernel.shape[0]
  basis = np.eye(old * old, dtype=np.float32).reshape(old * old, old, old, 1)
  wide = np.asarray(resize.bicubic(jnp.asarray(basis), (patch, patch), antialias=True))
  grow = wide.reshape(old * old, patch * patch)  # row i is where pixel i goes
  found = np.linalg.pinv(grow.astype(np.float64)) @ kernel.reshape(old * old, -1)
  return found.astype(np.float32).reshape(patch, patch, *kernel.shape[2:])


def with_grid(encoder: dict, config, was: tuple, grid: tuple, window: int | None = None) -> dict:
  """Resizes a ViT's positions, learned and relative ones, to `grid` instead of `was`.

  InputError where it has neither, or has no windows.
  """
  known, encoder = parts.settings(config.parts.encoder), dict(encoder)
  if window:
    raise errors.InputError("weights: window: this encoder has none. Say --grid or --patch.")
  placed = known.positions in ("sincos", "learned")
  if not placed and not known.relative:
    raise errors.InputError("weights: grid: this encoder has no positions of tokens to resize.")
  for name in encoder.keys() & {"relative_table", "relative_tables"}:
    tables = np.asarray(encoder[name])
    each = [
      relative_positions.resized(x, was, grid) for x in tables.reshape(-1, *tables.shape[-2:])
    ]
    encoder[name] = np.stack(each) if tables.ndim == 3 else each[0]
  if placed:
    encoder |= _positions(encoder, config, known.grid or was, grid)
    resizing = dict(antialias=bool(known.antialias), grid_offset=known.grid_offset or 0.0)
    config.parts.encoder.positions = part(layers.Learned, grid=grid, **resizing)
  return encoder


def _positions(encoder: dict, config, old: tuple, grid: tuple) -> dict:
  """Resizes positions to `grid`, learned ones, from those of the grid `old`, learned or fixed."""
  known, width = parts.settings(config.parts.encoder), config.parts.tokenizer.width
  found = dict(encoder)
  if known.positions == "sincos":
    code = np.asarray(positions.sincos(positions.grid_positions(old), width))
    found["positions_table"] = code[None]
    if known.class_tokens:
      found["class_positions"] = np.zeros((1, known.class_tokens, width), np.float32)
  square = jnp.asarray(found["positions_table"]).reshape(1, *old, -1)
  how: dict[str, Any] = dict(antialias=bool(known.antialias), grid_offset=known.grid_offset or 0.0)
  square = resize.bicubic(square, grid, **how)
  found["positions_table"] = np.asarray(square).reshape(1, grid[0] * grid[1], -1)
  return found


def with_window(encoder: dict, config, was: tuple, grid: tuple, window: int | None = None) -> dict:
  """Resizes a Swin's tables to windows of side `window`; no window is larger than its stage."""
  node, encoder = config.parts.encoder, dict(encoder)
  window = window or node.window
  for name, block in encoder.items():
    if name.startswith("stage_"):
      stage = int(name.split("_")[1])
      old, new = (
        tuple(min(side, whole >> stage) for whole in sides)
        for side, sides in ((node.window, was), (window, grid))
      )
      table = relative_positions.resized(block["relative_table"], old, new, spacing="even")
      encoder[name] = dict(block) | {"relative_table": table}
  node.window = window
  return encoder
