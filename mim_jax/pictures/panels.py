"""The painter of several modalities, predicted from a few tokens of each. Letters as in core."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.ops import patches
from mim_jax.pictures.grid import Pictures
from mim_jax.pictures.heat import drawn, enlarged
from mim_jax.pictures.palette import hues

NOTE = (
  "All modalities are predicted from one set of visible patches, drawn over all of them; the "
  "visible patches of each are pasted from the truth. Colours of classes mean nothing."
)


def modalities(batch, outcome: core.Outcome, *, entries: tuple[str, ...]) -> Pictures:
  """Draws each modality as it is and as the task of its name predicts it, the first masked as well.

  entries: the modalities of the pool, in its order; the first is an image, on whose scale the
  others are shown. Class maps are shown in colours, other maps as grey. Panels: original, masked,
  reconstruction of the first; "NAME" and "NAME predicted" of each other.
  """
  mask, first = drawn(outcome), batch[entries[0]].astype(jnp.float32)
  panels, grid = {"original": first}, mask.grid[1:]
  for i, name in enumerate(entries):
    hidden = mask.weight[:, i, :, None] > 0  # [b n 1]
    found, truth = _as_images(outcome.predictions[name][:, 0], batch[name], grid)
    covered = enlarged(hidden, grid, truth)
    both = jnp.where(covered, found, truth)
    if i == 0:
      panels |= {"masked": jnp.where(covered, 0.0, truth), "reconstruction": both}
    else:
      panels |= {name: _like(truth, truth, first), f"{name} predicted": _like(both, truth, first)}
  return Pictures(panels, NOTE)


def _as_images(predicted, truth, grid) -> tuple[Array, Array]:
  """(prediction, truth), both [b h w e]: values, or colours of classes."""
  patch = tuple(side // count for side, count in zip(truth.shape[1:3], grid, strict=True))
  if not jnp.issubdtype(truth.dtype, jnp.integer):
    return patches.unpatchify(predicted.astype(jnp.float32), grid, patch), truth
  cells = truth.size // (len(truth) * predicted.shape[1])  # pixels of a patch
  logits = predicted.reshape(*predicted.shape[:2], cells, -1)
  ids = patches.unpatchify(jnp.argmax(logits, -1), grid, patch)[..., 0]
  found, true = (hues(x.reshape(len(x), -1)).reshape(*truth.shape, 3) for x in (ids, truth))
  return found, true


def _like(values, truth, image) -> Float[Array, "b h w c"]:
  """A map on the scale and of the size of the images; its darkest and brightest are the truth's."""
  low, high = (f(truth, (0, 1, 2), keepdims=True) for f in (jnp.min, jnp.max))
  share = jnp.clip((values - low) / jnp.maximum(high - low, 1e-6), 0.0, 1.0)
  if share.shape[-1] < image.shape[-1]:
    share = jnp.repeat(share, image.shape[-1], axis=-1)
  dark, bright = jnp.min(image), jnp.max(image)
  share = dark + (bright - dark) * share
  grow = image.shape[1] // values.shape[1]
  return jnp.repeat(jnp.repeat(share, grow, axis=1), grow, axis=2)
