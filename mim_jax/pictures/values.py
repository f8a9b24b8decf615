"""Painters of predicted pixels. Letters: b batch, n patches, g groups, m masked, e width of a
target, q values of a channel in a patch, c channels.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.ops import gather, patches
from mim_jax.pictures.grid import Pictures
from mim_jax.pictures.heat import heat
from mim_jax.targets import cube, pixel

VISIBLE = "visible only"  # the panel in which nothing comes from the masked patches


def pixels(
  batch, outcome: core.Outcome, *, entry: str, patch: int, normalize: bool = True
) -> Pictures:
  """Draws predicted patches of images: panels "original", "masked", "reconstruction" [b h w c].

  entry, patch, normalize: as in targets.pixels. Visible patches are pasted from the original and
  what is neither seen nor predicted stays 0, grey. With `normalize` the network predicted patches
  of mean 0 and std 1: the true mean and std are put back in "reconstruction", and in a panel
  VISIBLE those guessed from the visible patches (see `note`). Where the mask followed scores, a
  panel "scores" shows them; where another view helped, "context" does. InputError where the
  predictions are no pixels.
  """
  image = batch[entry].astype(jnp.float32)
  cut = patches.patchify(image, patch)  # [b n e]
  mean, std = (x[..., None] for x in pixel.normalize_patches(cut)[1:]) if normalize else (0, 1)
  values = painted(outcome, cut, (*cut.shape[-1:], 1), (mean, std) if normalize else None)
  grid = patches.patch_grid(image.shape[1:-1], patch)
  panels = {name: patches.unpatchify(x, grid, patch) for name, x in values.items()}
  told = note(normalize)
  if "scores" in outcome.more:
    panels["scores"] = heat(outcome.more["scores"], image, grid)
    told += " Scores are what the mask followed, in each image from least to most."
  if "context" in outcome.more:
    panels["context"] = outcome.more["context"].astype(jnp.float32)
    told += " The network saw the context whole."
  return Pictures(panels, told)


def cubes(
  batch,
  outcome: core.Outcome,
  *,
  entry: str,
  tubelet: int,
  patch: int,
  std: tuple[float, ...],
  normalize: bool = True,
  frames: int = 4,
) -> Pictures:
  """Draws predicted cubes of clips like `pixels`, `frames` of their frames side by side.

  entry, tubelet, patch, std, normalize: as in targets.cubes.
  """
  clip = batch[entry].astype(jnp.float32)
  size = (tubelet, patch, patch)
  cut = patches.patchify(clip, size)  # [b n e]
  true = cube.normalize_cubes(cut, std)[1:] if normalize else None  # mean, std [b n 1 c]
  values = painted(outcome, cut, (cut.shape[-1] // len(std), len(std)), true)
  grid = patches.patch_grid(clip.shape[1:-1], size)
  join = functools.partial(patches.unpatchify, grid=grid, patch=size)
  panels = {name: side_by_side(join(x), frames) for name, x in values.items()}
  return Pictures(panels, f"{frames} frames of each clip side by side. {note(normalize)}")


def painted(outcome: core.Outcome, cut: Array, shape, statistics) -> dict[str, Array]:
  """Makes the panels of patches [b n e], which are of `shape` (q, c).

  statistics: true mean and std [b n 1 c] that normalised predictions lack; None where they are
  predicted as they are.
  """
  predicted, asked, seen = placed(outcome, cut.shape)
  shown = {"reconstruction": predicted}
  if statistics is not None:
    values = predicted.reshape(*cut.shape[:2], *shape)
    whole = {"reconstruction": statistics}
    if outcome.mask is not None:
      where = first_copies(outcome.mask.positions, outcome.mask.copies)
      near = functools.partial(guessed, seen=seen, positions=where)
      whole[VISIBLE] = tuple(near(x[:, :, 0])[:, :, None] for x in statistics)
    shown = {name: (values * d + m).reshape(cut.shape) for name, (m, d) in whole.items()}
    shown = {name: jnp.where(asked, x, 0.0) for name, x in shown.items()}
  panels = {"original": cut}
  if outcome.mask is not None:
    panels["masked"] = jnp.where(seen, cut, 0.0)
  return panels | {name: jnp.where(seen, cut, x) for name, x in shown.items()}


def placed(outcome: core.Outcome, shape) -> tuple[Array, Array, Array]:
  """Puts predictions at their patches: ([b n e] float32, which are predicted, seen [b n 1]).

  Where nothing was masked, all patches are predicted and none is pasted. Of several masks of one
  sample the first is shown. InputError where predictions have another width than `shape` says.
  """
  b, n, e = shape
  if outcome.predictions.shape[-1] != e:
    raise InputError(
      f"reconstruction: the network predicts {outcome.predictions.shape[-1]} numbers a token, but "
      f"a patch has {e} pixel values. Pictures need a network that predicts pixels."
    )
  predictions = outcome.predictions.astype(jnp.float32)
  if outcome.mask is None:
    every = jnp.ones((b, n, 1), bool)
    return predictions[:, 0], every, ~every
  mask, predictions = first_copies((outcome.mask, predictions), outcome.mask.copies)
  # Entries that only fill up the draw point behind the end, where a scatter drops them.
  index = jnp.where(mask.weight > 0, mask.masked, n).reshape(b, -1)
  values = gather.place(predictions.reshape(b, -1, e), index, jnp.zeros(shape, jnp.float32))
  asked = gather.member(index, n + 1)[:, :n, None]
  return values, asked, gather.member(mask.visible, n, mask.valid)[..., None]


def first_copies(tree, copies: int):
  """Keeps the first of several masks of each sample, [b*copies ...] -> [b ...]."""
  return tree if copies == 1 else jax.tree.map(lambda x: x[::copies], tree)


def guessed(
  values: Float[Array, "b n e"], seen: Bool[Array, "b n 1"], positions: Float[Array, "b n p"]
) -> Float[Array, "b n e"]:
  """Guesses values of patches by those that were seen: their mean, the near ones first.

  Weights fall with distance as a normal distribution of std one patch.
  """
  apart = positions[:, :, None] - positions[:, None]
  closeness = -jnp.sum(jnp.square(apart), -1) / 2.0  # [b n n]
  weights = jax.nn.softmax(jnp.where(seen[:, None, :, 0], closeness, -jnp.inf), -1)
  return jnp.einsum("bnk,bke->bne", weights, values)


def side_by_side(clip: Array, frames: int) -> Array:
  """Lays `frames` frames in a row, from the first to the last: [b t h w c] -> [b h w c]."""
  b, t, h, _, c = clip.shape
  chosen = clip[:, np.linspace(0, t - 1, min(frames, t)).round().astype(int)]
  return jnp.moveaxis(chosen, 1, 2).reshape(b, h, -1, c)


def note(normalize: bool) -> str:
  """Says what a reader must know before believing the pictures."""
  if normalize:
    return (
      "The network predicts each masked patch only up to its brightness and contrast: mean and "
      "std of every patch come from the true image, so the reconstructions look better than "
      f"what was predicted. In '{VISIBLE}' they are guessed from the visible patches nearby, and "
      "nothing of what was masked is used. Visible patches are pasted from the original."
    )
  return (
    "Masked patches are shown as predicted; nothing but the visible patches, which are pasted from "
    "the original, comes from the true image."
  )
