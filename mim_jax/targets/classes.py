"""Semantic classes of pixels as targets. Letters: b batch, n tokens, p pixels of a patch."""

from jax import Array

from mim_jax.ops import patches


def class_ids(batch, teachers=None, mask=None, *, patch: int, entry: str = "semantic") -> Array:
  """Patchifies a class map [b h w]: the class of every pixel, row by row, [b n p], int."""
  return patches.patchify(batch[entry][..., None], patch)
