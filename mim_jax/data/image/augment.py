"""Views of a batch, computed on the device in the step. Letters: b batch, H W canvas, h w view.

A view is one resampling: a box of the true image is mapped to h x w pixels with the bicubic kernel
of Keys (a = -1/2), widened when it shrinks (antialiasing), and cut off at the border of the true
image. That is Pillow's `resize(box=...)`; jax.image.scale_and_translate has the same kernel, but
cannot stop where a small image ends on its canvas. Boxes have continuous coordinates: nothing is
rounded to whole pixels, as torchvision would.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, UInt8

from mim_jax import errors

_TRIES = 10  # as torchvision's RandomResizedCrop
DRAWS = 2 * _TRIES + 2  # uniform numbers that a box takes


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
) -> dict[str, Any]:
  """Crops a random box of each image, resized to `size`, half of them mirrored (training view).

  size: (h, w) of the view.
  scale: range of the box's area as a fraction of the image's.
  aspect: range of its width / height.
  flip: whether half of the views are mirrored.
  mean, std: of the channels.

  Returns the batch with image float32 [b h w c], (x / 255 - mean) / std, and without `size`.
  Source: random resized crop as in torchvision, with MAE's scale.
  """
  box_key, flip_key = jax.random.split(key)
  box = random_boxes(box_key, batch["size"], scale, aspect)
  mirrored = jax.random.bernoulli(flip_key, 0.5 if flip else 0.0, box.shape[:1])
  image = resample(batch["image"], batch["size"], box, size, mirrored)
  return with_image(batch, normalize(image, mean, std))


def center_crop(
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  resize: float = 256 / 224,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Resizes each image to cover resize * size and crops its centre (evaluation view).

  For a square `size` that is a short side of resize * size before the crop. Returns as
  `crop_and_flip` does. InputError where resize < 1, which would leave part of the view empty.
  """
  if resize < 1:
    raise errors.InputError(f"view.resize: {resize} is below 1; 1 keeps the whole short side.")
  box = center_boxes(batch["size"], size, resize)
  image = resample(batch["image"], batch["size"], box, size)
  return with_image(batch, normalize(image, mean, std))


def center_boxes(
  whole: Int[Array, "b 2"], view: tuple[int, int], resize: float
) -> Float[Array, "b 4"]:
  """Computes the boxes (top, left, height, width) of `center_crop` in images of `whole` pixels.

  They are where torchvision's Resize and CenterCrop find their pixels: sides of the resized image
  and the place of the crop in it are whole numbers.
  """
  wanted = jnp.asarray(view, jnp.float32)[None]
  sides = whole.astype(jnp.float32)
  grown = jnp.max(wanted / sides, axis=-1, keepdims=True) * resize
  resized = jnp.floor(sides * grown + 1e-2)  # what is whole but for rounding stays so
  place = jnp.round((resized - wanted) / 2)
  step = sides / resized
  return jnp.concatenate([place * step, wanted * step], -1)


def normalize_only(
  key: Array, batch: dict[str, Any], *, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, Any]:
  """Normalizes what the host has cropped already (training view)."""
  return with_image(batch, normalize(batch["image"].astype(jnp.float32), mean, std))


def denormalize(
  images: Float[Array, "b h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "b h w c"]:
  """Undoes `normalize`: images in [0, 1], clipped there."""
  mean, std = _per_channel(mean, images), _per_channel(std, images)
  return jnp.clip(images.astype(jnp.float32) * std + mean, 0.0, 1.0)


def random_boxes(
  key: Array, size: Int[Array, "b 2"], scale: tuple[float, float], aspect: tuple[float, float]
) -> Float[Array, "b 4"]:
  """Draws boxes (top, left, height, width) of random resized crops, in pixels, in images of `size`.

  The area is uniform in scale x image area, the aspect log-uniform; of ten draws the first that
  fits is taken, else the largest central box of an allowed aspect.
  """
  if not (0 < scale[0] <= scale[1] and 0 < aspect[0] <= aspect[1]):
    raise errors.InputError(
      f"view: scale {scale} and aspect {aspect} are ranges (low, high) of positive numbers; "
      "scale=(0.2, 1.0), aspect=(0.75, 1.333) is usual."
    )
  keys = jax.random.split(key, 3)
  shapes = [(size.shape[0], _TRIES), (size.shape[0], _TRIES), (size.shape[0], 2)]
  draws = [jax.random.uniform(k, shape) for k, shape in zip(keys, shapes, strict=True)]
  return boxes(jnp.concatenate(draws, -1), size.astype(jnp.float32), scale, aspect, jnp)


def boxes(draws, whole, scale: tuple[float, float], aspect: tuple[float, float], xp):
  """Computes the boxes of `random_boxes` from uniform draws [b DRAWS], for `whole` [b 2]: [b 4].

  xp: numpy or jax.numpy, whose arrays are given and returned.
  """
  area = scale[0] + (scale[1] - scale[0]) * draws[:, :_TRIES]
  area = area * xp.prod(whole, -1, keepdims=True)
  low, high = math.log(aspect[0]), math.log(aspect[1])
  ratio = xp.exp(low + (high - low) * draws[:, _TRIES : 2 * _TRIES])
  extents = xp.stack([xp.sqrt(area / ratio), xp.sqrt(area * ratio)], -1)  # [b tries 2]
  fits = xp.all(extents <= whole[:, None], -1)
  first = xp.take_along_axis(extents, xp.argmax(fits, -1)[:, None, None], axis=1)[:, 0]
  found = xp.any(fits, -1, keepdims=True)
  extent = xp.where(found, first, _largest(whole, aspect, xp))
  place = xp.where(found, draws[:, 2 * _TRIES :][:, :2], 0.5)
  return xp.concatenate([place * (whole - extent), extent], -1)


def resample(
  image: UInt8[Array, "b H W c"],
  size: Int[Array, "b 2"],
  box: Float[Array, "b 4"],
  view: tuple[int, int],
  mirrored: Array | None = None,
) -> Float[Array, "b h w c"]:
  """Resizes the boxes (top, left, height, width) of the images to `view` (h, w): float32 in 0..255.

  mirrored: bool [b], whether to swap left and right. A box that is the whole image and a view of
  its size give the image back exactly.
  """
  rows = _weights(box[:, 0], box[:, 2], size[:, 0], image.shape[1], view[0])
  columns = _weights(box[:, 1], box[:, 3], size[:, 1], image.shape[2], view[1])
  if mirrored is not None:
    columns = jnp.where(mirrored[:, None, None], columns[:, ::-1], columns)
  exact = jax.lax.Precision.HIGHEST  # the default would round the weights on accelerators
  values = jnp.einsum("bHWc,bhH->bhWc", image.astype(jnp.float32), rows, precision=exact)
  values = jnp.einsum("bhWc,bwW->bhwc", values, columns, precision=exact)
  return jnp.clip(values, 0.0, 255.0)  # the kernel overshoots at edges


def _weights(start: Array, extent: Array, limit: Array, pixels: int, view: int) -> Array:
  """Computes the weight of each of `pixels` in each of `view`: [b view pixels], rows sum to 1."""
  step = (extent / view)[:, None]
  centers = start[:, None] + (jnp.arange(view, dtype=jnp.float32)[None] + 0.5) * step - 0.5
  index = jnp.arange(pixels, dtype=jnp.float32)[None, None]
  distance = jnp.abs(index - centers[:, :, None]) / jnp.maximum(step, 1.0)[:, :, None]
  inside = index < limit.astype(jnp.float32)[:, None, None]
  weights = jnp.where(inside, _keys(distance), 0.0)
  return weights / jnp.sum(weights, -1, keepdims=True)


def _keys(x: Array) -> Array:
  """Evaluates the cubic convolution kernel with a = -1/2 (Keys 1981, eq. 15) at x >= 0."""
  near = ((1.5 * x - 2.5) * x) * x + 1.0
  far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
  return jnp.where(x < 1.0, near, jnp.where(x < 2.0, far, 0.0))


def _largest(whole, aspect: tuple[float, float], xp):
  """Finds the sides of the largest boxes in images of `whole` with width / height in `aspect`."""
  height = xp.minimum(whole[:, 0], whole[:, 1] / aspect[0])
  width = xp.minimum(whole[:, 1], whole[:, 0] * aspect[1])
  return xp.stack([height, width], -1)


def normalize(image: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
  """Normalizes pixels in 0..255: (x / 255 - mean) / std, one number of each a channel."""
  return (image / 255.0 - _per_channel(mean, image)) / _per_channel(std, image)


def _per_channel(values: tuple[float, ...], image: Array) -> Array:
  if len(values) != image.shape[-1]:
    raise errors.InputError(
      f"view: mean or std {tuple(values)} has {len(values)} numbers; images have {image.shape[-1]} "
      "channels. Give one number a channel."
    )
  return jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1)


def with_image(batch: dict[str, Any], image: Array) -> dict[str, Any]:
  """Replaces the raw image of a batch by this view, and drops `size`."""
  kept = {key: value for key, value in batch.items() if key not in ("image", "size")}
  return {**kept, "image": image}
