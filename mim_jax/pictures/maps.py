"""Pictures of several signals, predicted from a few tokens of each. Letters as in core."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.core import Step
from mim_jax.methods import multimae as objective
from mim_jax.ops import patches
from mim_jax.pictures import latent_maps
from mim_jax.pictures.grid import Pictures


def pictures(
  parts,
  batch,
  step: Step,
  teachers=None,
  *,
  signals: tuple[str, ...],
  mask: Callable,
) -> Pictures:
  """Each signal as it is and as `parts.predictors[signal]` predicts it, the image masked as well.

  signals, mask: as in the objective. Class maps are shown in colours, other maps as grey. Panels:
  original, masked, reconstruction of the image; "NAME" and "NAME predicted" of each other signal.
  """
  tokens = objective.pooled(parts, batch, signals)
  drawn = mask(step.key, tokens, progress=step.progress)
  latents = parts.encoder(tokens, drawn)
  image = batch["image"].astype(jnp.float32)
  panels = {"original": image}
  for i, name in enumerate(signals):
    own = objective.group(drawn, i)
    hidden = jnp.broadcast_to(own.weight[:, 0, :, None] > 0, (*own.weight.shape[::2], 1))
    predicted = parts.predictors[name](latents, own)[:, 0]  # [b n e]
    found, truth = _as_images(predicted, batch[name], tokens.grid[1:])
    covered = _enlarged(hidden, tokens.grid[1:], truth)
    both = jnp.where(covered, found, truth)
    if name == "image":
      panels |= {"masked": jnp.where(covered, 0.0, truth), "reconstruction": both}
    else:
      panels |= {name: _like(truth, truth, image), f"{name} predicted": _like(both, truth, image)}
  return Pictures(panels, NOTE)


NOTE = (
  "All signals are predicted from one set of visible patches, drawn over all of them; the "
  "visible patches of each signal are pasted from the truth. Colours of classes mean nothing."
)


def _as_images(predicted, truth, grid) -> tuple[Array, Array]:
  """(prediction, truth), both [b h w e]: values, or colours of classes."""
  if not jnp.issubdtype(truth.dtype, jnp.integer):
    return patches.unpatchify(predicted.astype(jnp.float32), grid, _patch(truth, grid)), truth
  cells = truth.size // (len(truth) * predicted.shape[1])  # pixels of a patch
  scores = predicted.reshape(*predicted.shape[:2], cells, -1)
  ids = patches.unpatchify(jnp.argmax(scores, -1), grid, _patch(truth, grid))[..., 0]
  found, true = (
    latent_maps.hues(x.reshape(len(x), -1)).reshape(*truth.shape, 3) for x in (ids, truth)
  )
  return found, true


def _patch(signal, grid) -> tuple[int, ...]:
  return tuple(side // count for side, count in zip(signal.shape[1:3], grid, strict=True))


def _enlarged(cells: Array, grid, like) -> Array:
  """[b n 1] on the grid -> [b h w 1] of the size of `like`."""
  patch = _patch(like, grid)
  return patches.unpatchify(jnp.repeat(cells, patch[0] * patch[1], axis=-1), grid, patch)


def _like(signal, truth, image) -> Float[Array, "b h w c"]:
  """A map on the scale and of the size of the images; its darkest and brightest are the truth's."""
  low, high = (f(truth, (0, 1, 2), keepdims=True) for f in (jnp.min, jnp.max))
  share = jnp.clip((signal - low) / jnp.maximum(high - low, 1e-6), 0.0, 1.0)
  if share.shape[-1] < image.shape[-1]:
    share = jnp.repeat(share, image.shape[-1], axis=-1)
  dark, bright = jnp.min(image), jnp.max(image)
  share = dark + (bright - dark) * share
  grow = image.shape[1] // signal.shape[1]
  return jnp.repeat(jnp.repeat(share, grow, axis=1), grow, axis=2)
