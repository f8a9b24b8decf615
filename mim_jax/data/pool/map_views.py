"""Views of images with depth and class maps. Letters: b batch, H W canvas, h w view.

All modalities of an image share one box and one flip. Images are resampled as in augment; maps take
the nearest value. What the batch lacks the view lacks, so images alone can be encoded too.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, UInt16

from mim_jax.data.image import augment


def crop_and_flip(
  key: Array,
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  scale: tuple[float, float] = (0.2, 1.0),
  aspect: tuple[float, float] = (3 / 4, 4 / 3),
  flip: bool = True,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  coarser: int = 4,
) -> dict[str, Any]:
  """Crops one random box of all modalities and flips half of the images (training view).

  size, scale, aspect, flip, mean, std: see augment.crop_and_flip.
  coarser: pixels of the view along the side of one value of the semantic map.

  Returns image float32 [b h w c], depth float32 [b h w 1] standardised over each image, and
  semantic int32 [b h/coarser w/coarser]. Source: MultiMAE, section 4.1 and its reference.
  """
  box_key, flip_key = jax.random.split(key)
  box = augment.random_boxes(box_key, batch["size"], scale, aspect)
  mirrored = jax.random.bernoulli(flip_key, 0.5 if flip else 0.0, box.shape[:1])
  image = augment.resample(batch["image"], batch["size"], box, size, mirrored)
  view = augment.with_image(batch, augment.normalize(image, mean, std))
  return {**view, **_maps(batch, box, size, mirrored, coarser)}


def center_crop(
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  resize: float = 256 / 224,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  coarser: int = 4,
) -> dict[str, Any]:
  """Crops the centre of all modalities that are there (evaluation view).

  See augment.center_crop.
  """
  view = augment.center_crop(batch, size=size, resize=resize, mean=mean, std=std)
  box = augment.center_boxes(batch["size"], size, resize)
  mirrored = jnp.zeros(box.shape[:1], bool)
  return {**view, **_maps(batch, box, size, mirrored, coarser)}


def nearest(
  values: UInt16[Array, "b H W"],
  size: Int[Array, "b 2"],
  box: Float[Array, "b 4"],
  view: tuple[int, int],
  mirrored: Bool[Array, "b"],
) -> UInt16[Array, "b h w"]:
  """Samples the middle of each of h x w cells of the boxes (top, left, height, width)."""
  rows, columns = (_middles(box[:, i], box[:, i + 2], size[:, i], view[i]) for i in (0, 1))
  columns = jnp.where(mirrored[:, None], columns[:, ::-1], columns)
  return values[jnp.arange(len(values))[:, None, None], rows[:, :, None], columns[:, None]]


def standardize(
  depth: Float[Array, "b h w"], trim: tuple[float, float] = (0.1, 0.9)
) -> Float[Array, "b h w"]:
  """Standardizes depth over the values of an image that rank within `trim`.

  (depth - mean) / sqrt(variance + 1e-6). The variance is unbiased, as in MultiMAE's reference:
  outliers do not set the scale.
  """
  ranked = jnp.sort(depth.reshape(len(depth), -1), axis=1)
  n = ranked.shape[1]
  kept = ranked[:, int(trim[0] * n) : int(trim[1] * n)]
  mean = jnp.mean(kept, 1)[:, None, None]
  variance = jnp.var(kept, 1, ddof=1)[:, None, None]
  return (depth - mean) * jax.lax.rsqrt(variance + 1e-6)


def _maps(batch, box, size, mirrored, coarser) -> dict[str, Array]:
  """Makes the views of the maps that the batch has."""
  found = {}
  if "depth" in batch:
    depth = nearest(batch["depth"], batch["size"], box, size, mirrored)
    found["depth"] = standardize(depth.astype(jnp.float32) / 65_536)[..., None]
  if "semantic" in batch:
    small = (size[0] // coarser, size[1] // coarser)
    ids = nearest(batch["semantic"], batch["size"], box, small, mirrored)
    found["semantic"] = ids.astype(jnp.int32)
  return found


def _middles(start: Array, extent: Array, limit: Array, view: int) -> Int[Array, "b n"]:
  """Finds the pixels under the middles of `view` cells between start and start + extent."""
  step = (extent / view)[:, None]
  middle = start[:, None] + (jnp.arange(view, dtype=jnp.float32)[None] + 0.5) * step
  return jnp.clip(jnp.floor(middle).astype(jnp.int32), 0, limit[:, None] - 1)
