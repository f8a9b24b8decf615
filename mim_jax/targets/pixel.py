"""Pixels as targets. Letters: b batch, n tokens, e = patch x patch x channels."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.core import painted_by
from mim_jax.errors import InputError
from mim_jax.ops import patches


@painted_by("pixels")
def pixels(
  batch, teachers=None, mask=None, *, patch: int, normalize: bool = True, entry: str = "image"
) -> Array:
  """Cuts an image into patches of pixels, [b n e] float32; with `normalize` of mean 0, std 1.

  MAE section 4.1 (normalised targets): unbiased variance plus 1e-6, as in its reference.
  """
  cut = patches.patchify(batch[entry].astype(jnp.float32), patch)
  return normalize_patches(cut)[0] if normalize else cut


def normalize_patches(cut: Float[Array, "*n e"]) -> tuple[Array, Array, Array]:
  """Normalizes each patch: (normalised [... e], mean [... 1], std [... 1])."""
  if cut.shape[-1] < 2:
    raise InputError(
      "normalised targets: a patch of one value has no deviation. Use a larger `patch`, or "
      "objective.target.normalize=False."
    )
  mean = jnp.mean(cut, -1, keepdims=True)
  std = jnp.sqrt(jnp.var(cut, -1, keepdims=True, ddof=1) + 1e-6)
  return (cut - mean) / std, mean, std
