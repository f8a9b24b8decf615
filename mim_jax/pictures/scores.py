"""Pictures of what guides a mask: a brightness for each patch. Letters: b h w c n."""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from mim_jax.core import Step
from mim_jax.methods import hpm
from mim_jax.ops import gather, patches
from mim_jax.pictures import grid
from mim_jax.pictures.grid import Pictures


def hard_patches(
  parts, batch, step: Step, teachers, *, mask: Callable, patch: int, normalize: bool, signal="image"
) -> Pictures:
  """As `grid.pixels`, masked as at the end of training by what the slow copy finds hard.

  A fourth panel, "difficulty", has the guessed loss of every patch, brighter where it is larger.
  """
  image = batch[signal]
  guide = hpm.difficulty(teachers.ema, image)  # [b n]
  last = dataclasses.replace(step, progress=jnp.ones([], jnp.float32))
  guided = functools.partial(mask, guide=guide)
  settings = dict(mask=guided, patch=patch, normalize=normalize, signal=signal)
  shown = grid.pixels(parts, batch, last, teachers, **settings)
  panels = dict(shown.panels, difficulty=heat(guide, image, patch))
  return Pictures(panels, f"{shown.note} Difficulty is what the teacher guesses, in each image.")


def attention(
  parts, batch, step: Step, teachers, *, mask: Callable, target: Callable, patch: int
) -> Pictures:
  """Panels "original", "masked" and "attention": the guide that `target` gives."""
  image = batch["image"].astype(jnp.float32)
  _, guide = target(batch, teachers)  # [b n]
  tokens = parts.tokenizer(batch["image"])
  drawn = mask(step.key, tokens, guide, step.progress)
  cut = patches.patchify(image, patch)
  seen = gather.member(drawn.visible, cut.shape[1], drawn.valid)[..., None]
  masked = patches.unpatchify(jnp.where(seen, cut, 0.0), drawn.grid, patch)
  note = "Nothing is predicted here: patches are kept by chance, the likelier the brighter."
  panels = {"original": image, "masked": masked, "attention": heat(guide, image, patch)}
  return Pictures(panels, note)


def heat(guide: Array, image: Array, patch: int) -> Array:
  """[b n] as large as the image [b h w c], each from the darkest to the brightest value of all."""
  low, high = (f(guide, 1, keepdims=True) for f in (jnp.min, jnp.max))
  share = ((guide - low) / jnp.maximum(high - low, 1e-12))[..., None]  # [b n 1]
  dark, bright = (f(image, (0, 1, 2), keepdims=True)[:, 0] for f in (jnp.min, jnp.max))  # [1 1 c]
  colours = jnp.tile(dark + (bright - dark) * share, (1, 1, patch * patch))
  return patches.unpatchify(colours, patches.patch_grid(image.shape[1:3], patch), patch)
