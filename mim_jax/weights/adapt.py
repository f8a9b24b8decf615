"""Imported networks for other images: channels, patches, grids."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from mim_jax import errors
from mim_jax.ops import positions, resize

KERNELS = ("tokenizer/embed", "encoder/stem")


def adapted(variables: dict, config, *, channels=None, patch=None, grid=None) -> tuple[dict, Any]:
  """(variables, config) for images of `channels`, patches of side `patch`, tokens on `grid`.

  Each is None to stay as it is. Channels: one is the sum over all, others repeat the kernel and
  keep its scale. Patches: the kernel whose tokens of enlarged patches are nearest to those of the
  old ones (FlexiViT, arXiv 2212.08013, section 3.4). A grid: learned or fixed positions become
  learned ones of that grid, resized by a bicubic kernel, as fine-tuning on other sizes does.
  InputError for a network that has no such thing.
  """
  if channels is None and patch is None and grid is None:
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
  if grid:
    params["encoder"] = with_grid(params["encoder"], config, tuple(grid), old)
    config.data.view.size = tuple(side * config.parts.tokenizer.patch for side in grid)
  if (channels or patch) and "predictor" in config.parts:
    del config.parts.predictor  # it predicts the old patches
    params.pop("predictor")
  return {**variables, "params": params}, config


def with_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
  """A kernel [p p c d] for another number of channels, as timm does it."""
  old = kernel.shape[2]
  if channels == 1:
    return kernel.sum(2, keepdims=True)
  repeated = np.concatenate([kernel] * -(-channels // old), 2)[:, :, :channels]
  return repeated * np.float32(old / channels)


def with_patch(kernel: np.ndarray, patch: int) -> np.ndarray:
  """A kernel [p p c d] for patches of another side (FlexiViT, pseudo-inverse resize)."""
  old = kernel.shape[0]
  basis = np.eye(old * old, dtype=np.float32).reshape(old * old, old, old, 1)
  wide = np.asarray(resize.bicubic(jnp.asarray(basis), (patch, patch), antialias=True))
  grow = wide.reshape(old * old, patch * patch)  # row i is where pixel i goes
  found = np.linalg.pinv(grow.astype(np.float64)) @ kernel.reshape(old * old, -1)
  return found.astype(np.float32).reshape(patch, patch, *kernel.shape[2:])


def with_grid(encoder: dict, config, grid: tuple[int, int], patch: int) -> dict:
  """The encoder's arrays with learned positions on `grid`."""
  node, encoder = config.parts.encoder, dict(encoder)
  old = node.get("table") or tuple(side // patch for side in config.data.view.size)
  if node.get("positions") == "sincos":
    width = config.parts.tokenizer.width
    encoder["positions_table"] = np.asarray(positions.sincos(positions.grid_positions(old), width))[
      None
    ]
    if node.class_tokens:
      encoder["class_positions"] = np.zeros((1, node.class_tokens, width), np.float32)
  elif node.get("positions") != "learned":
    raise errors.InputError(
      "weights: grid: this encoder has no positions of tokens to resize; tables of relative "
      "positions belong to one grid."
    )
  found = jnp.asarray(encoder["positions_table"]).reshape(1, *old, -1)
  found = resize.bicubic(found, grid, antialias=node.antialias, stretch=node.stretch)
  encoder["positions_table"] = np.asarray(found).reshape(1, grid[0] * grid[1], -1)
  node.positions, node.table = "learned", grid
  return encoder
