"""Painters of what a mask follows: a brightness for each patch. Letters: b h w c n."""

import jax.numpy as jnp
from jax import Array

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.ops import gather, patches
from mim_jax.pictures.grid import Pictures


def scores(batch, outcome: core.Outcome, *, entry: str) -> Pictures:
  """Draws panels "original", "masked" and "scores": what the mask followed."""
  image, mask = batch[entry].astype(jnp.float32), drawn(outcome)
  seen = gather.member(mask.visible, mask.positions.shape[1], mask.valid)
  panels = {
    "original": image,
    "masked": jnp.where(enlarged(seen[..., None], mask.grid, image), image, 0.0),
    "scores": heat(outcome.more["scores"], image, mask.grid),
  }
  note = "Nothing is predicted here: patches are kept by chance, the likelier the brighter."
  return Pictures(panels, note)


def drawn(outcome: core.Outcome) -> core.Mask:
  """Takes the mask of an outcome; InputError where nothing was masked."""
  if outcome.mask is None:
    raise InputError("pictures: this painter shows a mask, and the objective draws none.")
  return outcome.mask


def heat(values: Array, image: Array, grid) -> Array:
  """Enlarges [b n] to the image [b h w c], each from the darkest to the brightest value of all."""
  low, high = (f(values, 1, keepdims=True) for f in (jnp.min, jnp.max))
  share = ((values - low) / jnp.maximum(high - low, 1e-12))[..., None]  # [b n 1]
  dark, bright = (f(image, (0, 1, 2), keepdims=True)[:, 0] for f in (jnp.min, jnp.max))  # [1 1 c]
  return enlarged(dark + (bright - dark) * share, grid, image)


def enlarged(cells: Array, grid, image: Array) -> Array:
  """Enlarges [b n e] on a grid to the size of the image, each cell of one value: [b h w e]."""
  sides = [side // count for side, count in zip(image.shape[1:3], grid, strict=True)]
  return patches.unpatchify(jnp.tile(cells, (1, 1, sides[0] * sides[1])), tuple(grid), tuple(sides))
