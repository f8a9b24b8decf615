"""Patchify and unpatchify. Letters: b batch, s spatial axes, n patches, c channels."""

import math

from jax import Array
from jaxtyping import Shaped

from mim_jax.errors import InputError


def patch_grid(shape: tuple[int, ...], patch: int | tuple[int, ...]) -> tuple[int, ...]:
  """Counts patches along each axis of `shape` (no batch, channels); InputError where none fits."""
  sizes = (patch,) * len(shape) if isinstance(patch, int) else tuple(patch)
  if len(sizes) != len(shape):
    raise InputError(
      f"patch: {sizes} has {len(sizes)} numbers for a signal with {len(shape)} spatial axes"
    )
  for length, size in zip(shape, sizes, strict=True):
    if size < 1 or length % size:
      fits = [p for p in range(1, length + 1) if length % p == 0]
      raise InputError(
        f"patch: a side of {length} is not a whole number of patches of {size}. "
        f"Sizes that fit: {', '.join(map(str, fits))}. Change `patch`, or the image size to "
        f"{max(size, round(length / max(size, 1)) * size)}."
      )
  return tuple(length // size for length, size in zip(shape, sizes, strict=True))


def patchify(
  signal: Shaped[Array, "b *s c"], patch: int | tuple[int, ...]
) -> Shaped[Array, "b n e"]:
  """Cuts [b *s c] into patches [b n e]; both the patches and the values in one go row by row.

  A patch vector is ordered (axes of s, then channel), as in MAE (models_mae.py of its reference).
  """
  b, *spatial, c = signal.shape
  grid = patch_grid(tuple(spatial), patch)
  sizes = [length // count for length, count in zip(spatial, grid, strict=True)]
  cut = signal.reshape(b, *(x for pair in zip(grid, sizes, strict=True) for x in pair), c)
  k = len(grid)
  cut = cut.transpose(0, *range(1, 2 * k, 2), *range(2, 2 * k + 1, 2), 2 * k + 1)
  return cut.reshape(b, math.prod(grid), math.prod(sizes) * c)


def unpatchify(
  patches: Shaped[Array, "b n e"], grid: tuple[int, ...], patch: int | tuple[int, ...]
) -> Shaped[Array, "b *s c"]:
  """Undoes `patchify`: [b n e] on a grid -> [b *s c]."""
  sizes = (patch,) * len(grid) if isinstance(patch, int) else tuple(patch)
  b, n, e = patches.shape
  if n != math.prod(grid) or e % math.prod(sizes):
    raise InputError(
      f"unpatchify: patches {patches.shape} do not lie on grid {grid} with patch {sizes}"
    )
  k = len(grid)
  cut = patches.reshape(b, *grid, *sizes, e // math.prod(sizes))
  order = [x for i in range(k) for x in (1 + i, 1 + k + i)]
  cut = cut.transpose(0, *order, 2 * k + 1)
  return cut.reshape(b, *(g * s for g, s in zip(grid, sizes, strict=True)), -1)
