"""Histograms of oriented gradients as targets. Letters: b batch, n cells, e = channels x bins."""

from jax import Array

from mim_jax.core import painted_by
from mim_jax.ops import hog as ops


@painted_by("latents")
def hog(
  batch,
  teachers=None,
  mask=None,
  *,
  cell: int,
  bins: int = 9,
  bias: tuple[float, float] = (0.0, 0.0),
  entry: str = "image",
) -> Array:
  """Computes HOG of every cell of `cell` x `cell` pixels, [b n e] float32.

  Of the normalised image, each channel separately; `bias` is added to its gradient (see ops.hog).
  Source: LocalMIM (arXiv 2303.05251).
  """
  return ops.hog(batch[entry], cell, bins, bias)
