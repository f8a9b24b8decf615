"""ConvNeXt on visible cells. Letters: b batch, h w sites, c channels, v visible."""

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.layers import basic, init, masked_conv
from mim_jax.layers.stack import Residual
from mim_jax.ops import depthwise, gelu

NORMAL = init.kernel("normal")


class ConvNeXt(nn.Module):
  """ConvNeXt: cells of pixels -> Pyramid with values [b v widths[-1]], un-normed.

  The stem is a convolution with kernel and stride patch / 2^(stages - 1), 4 as published; where
  that is 1, for small images, its kernel is 3. `layers` counts stages.
  Liu et al., arXiv 2201.03545, section 2; as a masked encoder: SparK, arXiv 2301.03580.
  """

  depths: tuple[int, ...] = (3, 3, 27, 3)
  widths: tuple[int, ...] = (128, 256, 512, 1024)
  patch: int = 32
  layer_scale: float = 1e-6
  drop_path: float = 0.0
  dtype: str = "float32"

  @property
  def layer_count(self) -> int:
    """Counts the layers."""
    return len(self.depths)

  @nn.compact
  def __call__(self, tokens: core.Tokens, mask: core.Mask | None = None, layers=None):
    x, seen = masked_conv.canvas(tokens, mask, self.patch)
    x = self._stem(x.astype(self.dtype), seen)
    rates = jnp.linspace(0.0, self.drop_path, sum(self.depths)) if self.drop_path else None
    maps = []
    for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
      x = self._halve(x, seen, stage, width) if stage else x
      for i in range(depth):
        block = Block(self.layer_scale, self.dtype, name=f"stage_{stage}_block_{i:02d}")
        x = block(x, seen, None if rates is None else rates[sum(self.depths[:stage]) + i])
      maps.append(x)
    return masked_conv.pyramid(maps, seen, mask, layers)

  def _stem(self, x, seen):
    stride = masked_conv.stem_stride(self.patch, len(self.depths))
    conv = masked_conv.conv(
      self.widths[0], 3 if stride == 1 else stride, self.dtype, "stem", stride, kernel_init=NORMAL
    )
    return masked_conv.LayerNorm(self.dtype, name="stem_norm")(conv(x), seen)

  def _halve(self, x, seen, stage, width):
    x = masked_conv.LayerNorm(self.dtype, name=f"stage_{stage}_norm")(x, seen)
    conv = masked_conv.conv(width, 2, self.dtype, f"stage_{stage}", 2, kernel_init=NORMAL)
    return masked_conv.hide(conv(x), seen)


class Block(nn.Module):
  """ConvNeXt block: depthwise 7 x 7, norm, MLP with exact GELU, layer scale, on [b h w c]."""

  layer_scale: float = 1e-6
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, seen=None, drop=None):
    c = x.shape[-1]
    settings = dict(feature_group_count=c, conv_general_dilated=depthwise.convolve)
    conv = masked_conv.conv(c, 7, self.dtype, "depthwise", kernel_init=NORMAL, **settings)
    y = masked_conv.LayerNorm(self.dtype, name="norm")(conv(x), seen)
    y = basic.dense(4 * c, self.dtype, "up", kernel_init=NORMAL)(y)
    y = gelu.gelu(y)
    y = basic.dense(c, self.dtype, "down", kernel_init=NORMAL)(y)
    residual = Residual(self.layer_scale, name="residual")
    return residual(x, masked_conv.hide(y, seen), drop)
