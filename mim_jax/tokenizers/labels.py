"""Tokenizer of class maps. Letters: b batch, h w, n tokens, d width."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from mim_jax import core
from mim_jax.layers import basic, init
from mim_jax.ops import patches, positions


class ClassPatches(nn.Module):
  """Patch embedding of a class map: [b h w] -> Tokens [b n d] on the patch grid.

  Each of `classes` has a learned embedding of `class_width`, normal(0.02); a patch of them goes
  through a linear layer, as pixels do in ImagePatches. Ids must lie in [0, classes); InputError
  where the patch does not divide the map. Source: MultiMAE, section 3.2 and its reference.
  """

  patch: int
  width: int
  classes: int
  class_width: int = 64
  dtype: str = "float32"

  @nn.compact
  def __call__(self, labels: Int[Array, "b h w"]) -> core.Tokens:
    grid = patches.patch_grid(labels.shape[1:], self.patch)
    table = self.param(
      "class_embedding", nn.initializers.normal(0.02), (self.classes, self.class_width)
    )
    cut = patches.patchify(jnp.take(table.astype(self.dtype), labels, axis=0), self.patch)
    bias = init.fan_in(cut.shape[-1])
    embed = basic.dense(self.width, self.dtype, "embed", bias_init=bias)
    where = jnp.broadcast_to(positions.grid_positions(grid), (*cut.shape[:2], len(grid)))
    return core.Tokens(embed(cut), where, grid=grid)
