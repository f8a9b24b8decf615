"""Tokenizer of texts. Letters: b batch, n ids, d width, k vocabulary."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from mim_jax import core
from mim_jax.layers import init
from mim_jax.ops import positions


class Bytes(nn.Module):
  """Token embedding: ids [b n], -1 where there is none, -> Tokens [b n d] on a 1-D grid.

  Ids 0 to 255 are bytes; those behind them are signs such as [MASK]. `valid` says where there is an
  id. The table [k d] is the attribute `table`, so that a head may be tied to it.

  Attributes:
    width: d.
    vocabulary: k.
    dtype: what is computed in.
    kernel_init: how the table starts, a word of layers.init.
  """

  width: int
  vocabulary: int = 257
  dtype: str = "float32"
  kernel_init: str = "normal"

  def setup(self):
    shape = (self.vocabulary, self.width)
    self.table = self.param("table", init.token(self.kernel_init), shape)

  def __call__(self, text: Int[Array, "b n"]) -> core.Tokens:
    valid, ids = text >= 0, jnp.maximum(text, 0).astype(jnp.int32)
    values = jnp.take(self.table, ids, axis=0, mode="clip").astype(self.dtype)
    grid = text.shape[1:]
    where = jnp.broadcast_to(positions.grid_positions(grid)[None], (*text.shape, 1))
    return core.Tokens(values, where, valid, grid)
