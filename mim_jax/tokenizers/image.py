"""Tokenizer of images. Letters: b batch, h w c, n tokens, d width."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import basic, init
from mim_jax.ops import patches, positions


class ImagePatches(nn.Module):
  """Linear patch embedding: [b h w c] -> Tokens [b n d] on the patch grid.

  Kernel Xavier-uniform over the flattened patch; bias uniform in +-1/sqrt(fan-in), which is what
  the convolution in MAE's reference starts from. With `kernel_init` "torch" both start like the
  bias (iBOT); another word of `layers.init` is for the kernel, and the bias is 0 (I-JEPA).
  InputError where the patch does not divide the image.
  """

  patch: int
  width: int
  dtype: str = "float32"
  kernel_init: str = "xavier"
  bias: bool = True

  @nn.compact
  def __call__(self, image: Float[Array, "b h w c"]) -> core.Tokens:
    grid = patches.patch_grid(image.shape[1:-1], self.patch)
    cut = patches.patchify(image, self.patch)
    start = dict(use_bias=self.bias, **self._start(cut.shape[-1]))
    embed = basic.dense(self.width, self.dtype, "embed", **start)
    where = jnp.broadcast_to(positions.grid_positions(grid), (*cut.shape[:2], len(grid)))
    return core.Tokens(embed(cut), where, grid=grid)

  def _start(self, inputs: int) -> dict:
    torch = init.fan_in(inputs)
    if self.kernel_init == "torch":
      return dict(kernel_init=torch, bias_init=torch)
    bias = dict(bias_init=torch) if self.kernel_init == "xavier" else {}
    return dict(kernel_init=init.kernel(self.kernel_init), **bias)
