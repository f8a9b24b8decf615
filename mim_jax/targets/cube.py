"""Pixels of clips as targets. Letters: b batch, n cubes, e values of a cube, c channels."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.core import painted_by
from mim_jax.errors import InputError
from mim_jax.ops import patches


@painted_by("cubes")
def cubes(
  batch,
  teachers=None,
  mask=None,
  *,
  tubelet: int,
  patch: int,
  std: tuple[float, ...],
  normalize: bool = True,
  entry: str = "image",
) -> Array:
  """The pixels of every cube, [b n e]; with `normalize` each colour of each cube by itself.

  std: what the clip was divided by after [0, 1], one number a channel, so that epsilon has its
  published scale. Values go by frame, row, column, channel. Source: VideoMAE, section 3.1, and
  engine_for_pretraining.py of its reference.
  """
  clip = batch[entry].astype(jnp.float32)
  cut = patches.patchify(clip, (tubelet, patch, patch))
  return normalize_cubes(cut, std)[0] if normalize else cut


def normalize_cubes(
  cut: Float[Array, "b n e"], std: tuple[float, ...]
) -> tuple[Array, Array, Array]:
  """(normalised [b n e], mean, deviation [b n 1 c]), statistics over the values of each channel.

  x - mean over (unbiased deviation + 1e-6 of [0, 1] pixels); mean and deviation are on the scale of
  `cut`. InputError where a cube has one value a channel, or `std` not one number a channel.
  """
  b, n, e = cut.shape
  if e % len(std) or e < 2 * len(std):
    raise InputError(
      f"cubes: {e} values do not make two or more for each of the {len(std)} channels of std. "
      "Give one number a channel, and cubes of more than one pixel."
    )
  values = cut.reshape(b, n, -1, len(std))
  mean = jnp.mean(values, 2, keepdims=True)
  epsilon = 1e-6 / jnp.asarray(std, jnp.float32).reshape(1, 1, 1, -1)
  deviation = jnp.std(values, 2, keepdims=True, ddof=1) + epsilon
  return ((values - mean) / deviation).reshape(b, n, e), mean, deviation
