"""A light U-Net over the maps of a convolutional encoder. Letters: b, g, m masked, e, h w c."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.errors import InputError, unknown
from mim_jax.layers import init, masked_conv
from mim_jax.ops import patches

NORMS = dict(batch=masked_conv.BatchNorm, layer=masked_conv.LayerNorm)


class UNet(nn.Module):
  """SparK's decoder: Pyramid -> the pixels of masked cells [b g m e], e = patch x patch x channels.

  Every map is normed over its visible sites, gets a learned vector at the hidden ones, and is
  projected to width / 2^i; from the coarsest on, blocks double the sides, halve the channels and
  add the next map, up to the pixels (arXiv 2301.03580, sections 3.2 and 3.3). Sites that do not
  exist stay zero, as those beyond the border. `norm` is that of the encoder: "batch" or "layer".
  InputError where the latents have no maps.
  """

  width: int
  patch: int
  channels: int
  norm: str = "batch"
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    if self.norm not in NORMS:
      raise unknown("predictor.norm", self.norm, NORMS)
    if not isinstance(latents, core.Pyramid):
      raise InputError(
        "predictor UNet: the encoder returned no maps. Use a convolutional one: ResNet, ConvNeXt."
      )
    seen, doublings = masked_conv.visible(mask), self.patch.bit_length() - 1
    real = None if mask.present is None else mask.present.reshape(-1, *mask.grid)
    maps = latents.maps[::-1]
    x = self._densify(maps[0], seen, real, 0)
    for i in range(doublings):
      x = Double(self.width >> (i + 1), self.dtype, name=f"block_{i}")(x, real)
      if i + 1 < len(maps):
        x = x + self._densify(maps[i + 1], seen, real, i + 1)
    image = masked_conv.conv(self.channels, 1, self.dtype, "head", kernel_init=SMALL)(x)
    return core.take(patches.patchify(image, self.patch), mask.masked)

  def _densify(self, x, seen, real, i):
    """Fills all real sites of map i, coarsest first: [b h w c] -> [b h w width / 2^i]."""
    c, width, kernel = x.shape[-1], self.width >> i, 3 if i else 1
    x = NORMS[self.norm](dtype=self.dtype, name=f"densify_{i}_norm")(x, seen)
    token = self.param(f"densify_{i}_token", init.token("trunc_normal"), (1, 1, 1, c))
    x = jnp.where(masked_conv.at_sites(seen, x), x, token.astype(x.dtype))
    x = masked_conv.hide(x, real)
    if c == width and not i:
      return x
    start = init.fan_in(kernel**2 * c)
    started: dict = dict(kernel_init=start, bias_init=start)
    return masked_conv.hide(
      masked_conv.conv(width, kernel, self.dtype, f"densify_{i}", **started)(x), real
    )


SMALL = init.kernel("normal")
# He's for a transposed convolution, whose fan-out in PyTorch's convention is inputs x kernel.
TRANSPOSED = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Double(nn.Module):
  """Upsampling: transposed convolution, two 3 x 3 with batch norm, [b h w c] -> [b 2h 2w width]."""

  width: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], real=None) -> Array:
    """`real` [b i j] says which cells exist; None where all do."""
    c, dtype = x.shape[-1], jnp.dtype(self.dtype)
    # Padding 2 of the dilated map is padding 1 in PyTorch's convention: sides double exactly.
    x = nn.ConvTranspose(
      c, (4, 4), (2, 2), ((2, 2), (2, 2)), dtype=dtype, kernel_init=TRANSPOSED, name="up"
    )(x)
    x = _plain(c, self.dtype, "conv1")(masked_conv.hide(x, real))
    x = nn.relu6(masked_conv.BatchNorm(dtype=self.dtype, name="norm1")(x, real))
    x = _plain(self.width, self.dtype, "conv2")(x)
    return masked_conv.BatchNorm(dtype=self.dtype, name="norm2")(x, real)


def _plain(width, dtype, name):
  return masked_conv.conv(width, 3, dtype, name, use_bias=False, kernel_init=SMALL)
