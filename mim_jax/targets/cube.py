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
  """Cuts a clip into cubes of pixels, [b n e].

  tubelet, patch: sides of a cube, in frames and in pixels.
  std: that the clip was normalised by, one number a channel, so that epsilon has its published
    scale.
  normalize: each channel of each cube separately.
  entry: of the batch, the clip.

  Values go by frame, row, column, channel. Source: VideoMAE, section 3.1, and
  engine_for_pretraining.py of its reference.
  """
  clip = batch[entry].astype(jnp.float32)
  cut = patches.patchify(clip, (tubelet, patch, patch))
  return normalize_cubes(cut, std)[0] if normalize else cut


def normalize_cubes(
  cut: Float[Array, "b n e"], std: tuple[float, ...]
) -> tuple[Array, Array, Array]:
  """Normalizes each channel of each cube: (normalised [b n e], mean, std [b n 1 c]).

  (x - mean) / (unbiased std + 1e-6 of [0, 1] pixels); mean and std are on the scale of `cut`.
  InputError where a cube has one value a channel, or `std` not one number a channel.
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
  cube_std = jnp.std(values, 2, keepdims=True, ddof=1) + epsilon
  return ((values - mean) / cube_std).reshape(b, n, e), mean, cube_std
