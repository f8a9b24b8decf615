"""ResNet on visible cells. Letters: b batch, h w sites, c channels, v visible."""

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.layers import masked_conv
from mim_jax.layers.stack import Residual

HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
  """ResNet of bottleneck blocks: cells of pixels -> Pyramid with values [b v 32 width].

  Stride on the 3 x 3 convolution ("v1.5"), batch norm over visible sites; ResNet-50 has depths
  (3, 4, 6, 3). With `zero_scale` the last scale of each block starts at zero, so that blocks begin
  as shortcuts. The stem has stride patch / 2^(stages - 1): 4 is 7 x 7 with max pooling, 2 the same
  without it, 1 is 3 x 3, for small images. `layers` counts stages.
  He et al., arXiv 1512.03385, table 1; as a masked encoder: SparK, arXiv 2301.03580.
  """

  depths: tuple[int, ...] = (3, 4, 6, 3)
  width: int = 64
  patch: int = 32
  drop_path: float = 0.0
  zero_scale: bool = True
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
    for stage, depth in enumerate(self.depths):
      for i in range(depth):
        block = Bottleneck(
          self.width << stage,
          stride=2 if stage and not i else 1,
          zero_scale=self.zero_scale,
          dtype=self.dtype,
          name=f"stage_{stage}_block_{i:02d}",
        )
        x = block(x, seen, None if rates is None else rates[sum(self.depths[:stage]) + i])
      maps.append(x)
    return masked_conv.pyramid(maps, seen, mask, layers)

  def _stem(self, x, seen):
    stride = masked_conv.stem_stride(self.patch, len(self.depths))
    kernel, step = (3, 1) if stride == 1 else (7, 2)
    conv = masked_conv.conv(
      self.width, kernel, self.dtype, "stem", step, use_bias=False, kernel_init=HE
    )
    x = nn.relu(masked_conv.BatchNorm(dtype=self.dtype, name="stem_norm")(conv(x), seen))
    if stride == 4:
      x = masked_conv.hide(nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))), seen)
    return x


class Bottleneck(nn.Module):
  """Bottleneck block of 1 x 1, 3 x 3, 1 x 1 convolutions, [b h w c] -> [b h/s w/s 4 width]."""

  width: int
  stride: int = 1
  zero_scale: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, seen=None, drop=None):
    y = nn.relu(self._step(x, seen, 1, self.width, 1))
    y = nn.relu(self._step(y, seen, 2, self.width, 3, stride=self.stride))
    y = self._step(y, seen, 3, 4 * self.width, 1, zero_scale=self.zero_scale)
    if x.shape != y.shape:
      x = self._step(x, seen, 0, 4 * self.width, 1, stride=self.stride)
    return nn.relu(Residual(name="residual")(x, y, drop))

  def _step(self, x, seen, number, width, kernel, *, stride=1, zero_scale=False):
    """Applies convolution and norm number 1, 2, 3; 0 is the shortcut."""
    conv = masked_conv.conv(
      width, kernel, self.dtype, f"conv{number}", stride, use_bias=False, kernel_init=HE
    )
    norm = masked_conv.BatchNorm(zero_scale=zero_scale, dtype=self.dtype, name=f"norm{number}")
    return norm(conv(x), seen)
