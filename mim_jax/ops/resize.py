"""Images at another size or on another scale. Letters: b, h w and then H W, c."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError


def teacher_view(
  image: Float[Array, "b h w c"],
  *,
  size: tuple[int, int],
  seen: tuple[tuple[float, ...], tuple[float, ...]],
  wanted: tuple[tuple[float, ...], tuple[float, ...]],
) -> Float[Array, "b H W c"]:
  """Resizes a normalised image to `size` and renormalises it as another network needs it.

  seen, wanted: (mean, std) of the channels before and after.
  """
  (mean, std), (new_mean, new_std) = (tuple(map(_row, pair)) for pair in (seen, wanted))
  for row in (mean, std, new_mean, new_std):
    if row.shape[-1] not in (1, image.shape[-1]):
      raise InputError(
        f"teacher_view: {row.shape[-1]} numbers of mean or deviation for {image.shape[-1]} channels"
      )
  image = bicubic(image.astype(jnp.float32), size)
  same = seen == wanted
  return image if same else (image * std + mean - new_mean) / new_std


def bicubic(
  image: Float[Array, "b h w c"],
  size: tuple[int, int],
  *,
  antialias: bool = False,
  grid_offset: float = 0.0,
) -> Float[Array, "b H W c"]:
  """Resizes bicubically as PyTorch: Keys' cubic, a = -3/4, on four pixels, edges repeated.

  With `antialias` a = -1/2, as wide as the old pixels of a new one, edges cut off: PyTorch's
  antialiased bicubic, and PIL's. Without it, `grid_offset` is by how many pixels longer than it is
  the new image is taken to be (DINO: 0.1).
  """

  def weights(old, new):
    return _wide_weights(old, new) if antialias else _weights(old, new, grid_offset)

  exact = jax.lax.Precision.HIGHEST  # the default would round the weights on accelerators
  for axis, (old, new) in enumerate(zip(image.shape[1:3], size, strict=True)):
    if old != new:
      rule = ("bhwc,Hh->bHwc", "bhwc,Ww->bhWc")[axis]
      image = jnp.einsum(rule, image, jnp.asarray(weights(old, new)), precision=exact)
  return image


def _weights(old: int, new: int, grid_offset: float, a: float = -0.75) -> np.ndarray:
  """Computes the weight of each of `old` pixels in each of `new`: [new old], float32."""
  centers = (np.arange(new) + 0.5) * old / (new + grid_offset) - 0.5
  first = np.floor(centers).astype(int) - 1
  found = np.zeros((new, old))
  for tap in range(4):
    x = np.abs(centers - (first + tap))
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    np.add.at(
      found, (np.arange(new), np.clip(first + tap, 0, old - 1)), np.where(x <= 1, near, far)
    )
  return found.astype(np.float32)


def _wide_weights(old: int, new: int, a: float = -0.5) -> np.ndarray:
  """Computes such weights with a kernel as wide as old / new where that is more than 1."""
  scale = max(1.0, old / new)
  centers = (np.arange(new) + 0.5) * old / new
  x = np.abs((np.arange(old)[None] + 0.5 - centers[:, None]) / scale)
  near = ((a + 2) * x - (a + 3)) * x**2 + 1
  far = a * (((x - 5) * x + 8) * x - 4)
  found = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
  return (found / found.sum(1, keepdims=True)).astype(np.float32)


def _row(values: tuple[float, ...]) -> Array:
  return jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1)
