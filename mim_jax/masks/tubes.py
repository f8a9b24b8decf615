"""Masks that are the same at every time. Letters: b batch, m hidden cells of a time."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import padded


def tube(key, tokens: core.Tokens, scores=None, progress=None, *, ratio: float) -> core.Mask:
  """Hides a uniformly drawn set of int(ratio x cells) cells of each clip, at all its times.

  Cells are the places of one time on the (time, row, column) grid; of a padded clip those count
  that are real at any time. Source: VideoMAE, section 3.2 (arXiv 2203.12602). InputError for tokens
  that lie on no such grid, or if nothing would be visible or masked.
  """
  if len(tokens.grid) != 3:
    raise InputError(
      f"tube mask: the tokens lie on the grid {tokens.grid}, but tubes need (time, row, column). "
      "Use a tokenizer for clips such as tokenizers.VideoCubes, or masks.random."
    )
  b, times, cells = tokens.positions.shape[0], tokens.grid[0], math.prod(tokens.grid[1:])
  m = hidden_cells(cells, ratio)
  if tokens.valid is not None:
    members = np.arange(times * cells, dtype=np.int32).reshape(times, cells).T
    return padded.hide_units(key, tokens, members, lambda k: int(ratio * k))
  order = jnp.argsort(jax.random.uniform(key, (b, cells)), axis=1)
  first = cells * jnp.arange(times, dtype=order.dtype)[None, :, None]  # cell 0 of every time
  visible, masked = (
    (jnp.sort(drawn, axis=1)[:, None] + first).reshape(b, -1)
    for drawn in (order[:, m:], order[:, :m])
  )
  return core.make_mask(tokens, visible, masked)


def hidden_cells(cells: int, ratio: float) -> int:
  """Computes int(ratio x cells), as VideoMAE does; InputError where that hides all or none."""
  hidden = int(ratio * cells)
  if not 0 < hidden < cells:
    raise InputError(
      f"mask ratio {ratio} hides {hidden} of the {cells} cells of a frame. Allowed: about "
      f"{1 / cells:.4g} to {1 - 1 / cells:.4g}. Change `objective.mask.ratio` or the patch size."
    )
  return hidden
