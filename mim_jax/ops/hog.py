"""Histograms of oriented gradients. Letters: b batch, h w c, n cells, k bins."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from mim_jax.ops import patches


def hog(
  image: Float[Array, "b h w c"], cell: int, bins: int, bias: tuple[float, float] = (0.0, 0.0)
) -> Float[Array, "b n e"]:
  """Computes HOG: a unit-length histogram a cell and channel (flat: 0), [b n c*bins] float32.

  Each pixel votes with its magnitude for one of `bins` unsigned orientations, not for the two that
  it lies between. Cells come row by row; in a cell all bins of the first channel come first.
  InputError where `cell` does not divide the image. Source: LocalMIM (arXiv 2303.05251) and its
  reference: no blocks, no clipping.
  """
  grid = patches.patch_grid(image.shape[1:3], cell)
  bin_of, magnitude = orientation(image.astype(jnp.float32), bins, bias)
  ways = jnp.arange(bins, dtype=jnp.int32).reshape(1, 1, 1, 1, bins)
  votes = jnp.where(bin_of[..., None] == ways, magnitude[..., None], 0.0)  # [b h w c k]
  b, _, _, c, k = votes.shape
  pooled = jnp.mean(votes.reshape(b, grid[0], cell, grid[1], cell, c, k), (2, 4))
  length = jnp.sqrt(jnp.sum(jnp.square(pooled), -1, keepdims=True))
  return (pooled / jnp.maximum(length, 1e-12)).reshape(b, grid[0] * grid[1], c * k)


def orientation(
  image: Float[Array, "b h w c"], bins: int, bias: tuple[float, float] = (0.0, 0.0)
) -> tuple[Int[Array, "b h w c"], Float[Array, "b h w c"]]:
  """Computes (bin in 0..bins-1, magnitude) of the Sobel gradient, borders reflected.

  The angle runs from the vertical axis, atan2(horizontal, vertical), and opposite gradients share a
  bin. `bias` (horizontal, vertical) is added to the gradient.
  """
  horizontal, vertical = sobel(image)
  horizontal, vertical = horizontal + bias[0], vertical + bias[1]
  magnitude = jnp.sqrt(jnp.square(horizontal) + jnp.square(vertical))
  # Turned into the half plane 0 <= angle < pi first: -pi and pi would round to different bins.
  turned = (horizontal < 0) | ((horizontal == 0) & (vertical < 0))
  sign = jnp.where(turned, -1.0, 1.0)
  angle = jnp.arctan2(sign * horizontal, sign * vertical)
  bin_of = jnp.floor(angle * (bins / jnp.pi)).astype(jnp.int32)
  return jnp.clip(bin_of, 0, bins - 1), magnitude


def sobel(
  image: Float[Array, "b h w c"],
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
  """Computes Sobel gradients: (left - right, top - bottom), smoothed (1, 2, 1) across."""
  x = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
  across = x[:, :, :-2] - x[:, :, 2:]
  down = x[:, :-2] - x[:, 2:]
  horizontal = across[:, :-2] + 2.0 * across[:, 1:-1] + across[:, 2:]
  vertical = down[:, :, :-2] + 2.0 * down[:, :, 1:-1] + down[:, :, 2:]
  return horizontal, vertical
