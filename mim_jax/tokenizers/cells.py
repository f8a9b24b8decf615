"""Raw pixels as tokens. Letters: b batch, h w c, n cells, e values of a cell."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.ops import patches, positions


class Cells(nn.Module):
  """Raw-pixel tokenizer: [b h w c] -> Tokens [b n e], e = patch x patch x c, unchanged.

  For convolutional encoders: only masks need cells. Nothing is learnt.
  InputError where the cell does not divide the image.
  """

  patch: int

  @nn.compact
  def __call__(self, image: Float[Array, "b h w c"]) -> core.Tokens:
    grid = patches.patch_grid(image.shape[1:-1], self.patch)
    cut = patches.patchify(image, self.patch)
    where = jnp.broadcast_to(positions.grid_positions(grid), (*cut.shape[:2], len(grid)))
    return core.Tokens(cut, where, grid=grid)
