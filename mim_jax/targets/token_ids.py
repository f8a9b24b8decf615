"""Ids of tokens as targets. Letters: b batch, n tokens."""

import jax.numpy as jnp
from jax import Array

from mim_jax.core import painted_by


@painted_by("text")
def ids(batch, teachers=None, mask=None, *, entry: str) -> Array:
  """Takes the ids [b n] of a batch, unchanged: [b n 1] int32, 0 for padding (never masked).

  Source: BERT (arXiv 1810.04805), section 3.1.
  """
  return jnp.maximum(batch[entry], 0).astype(jnp.int32)[..., None]
