"""Tokenizer of clips. Letters: b batch, t h w c, n tokens, d width."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import basic, init
from mim_jax.ops import patches, positions


class VideoCubes(nn.Module):
  """Cube embedding of `tubelet` frames, `patch` x `patch` pixels: [b t h w c] -> Tokens [b n d].

  Tokens go by time, then row, then column, and so do the values in a cube, channels last. With
  `flat` a token's position is its number in that order (VideoMAE's code); without, it is (time,
  row, column). Kernel and bias uniform in +-1/sqrt(fan-in), which is what the convolution in
  VideoMAE's reference starts from. InputError where no whole number of cubes fits the clip.
  """

  tubelet: int
  patch: int
  width: int
  flat: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, clip: Float[Array, "b t h w c"]) -> core.Tokens:
    cube = (self.tubelet, self.patch, self.patch)
    grid = patches.patch_grid(clip.shape[1:-1], cube)
    cut = patches.patchify(clip, cube)
    start = init.fan_in(cut.shape[-1])
    embed = basic.dense(self.width, self.dtype, "embed", kernel_init=start, bias_init=start)
    n = cut.shape[1]
    where = positions.grid_positions((n,) if self.flat else grid)
    where = jnp.broadcast_to(where, (*cut.shape[:2], where.shape[-1]))
    return core.Tokens(embed(cut), where, grid=grid)
