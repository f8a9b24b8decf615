"""Two views of an image, one inside the other. Letters: b batch, h w view, c channels."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.data.image import augment


def global_and_local(
  key: Array,
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  outer: tuple[float, float] = (0.1, 1.0),
  inner: tuple[float, float] = (0.3, 0.6),
  flip: bool = True,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops a random box of the image as context, and a random box of that as crop (training view).

  size, mean, std: see augment.crop_and_flip.
  outer, inner: ranges of the boxes' areas, as fractions of the image and of the context.
  flip: whether each view by itself is mirrored half the time.

  `image` is the crop as well. Both views are float32 [b h w c] and normalised; `size` is gone. The
  local view is cut from the resized global one, so pixels are resampled twice. Source: CropMAE,
  section 3.1 (arXiv 2403.17823), with torchvision's draw of boxes.
  """
  outer_key, inner_key, flip_key = jax.random.split(key, 3)
  whole = augment.random_boxes(outer_key, batch["size"], outer, (3 / 4, 4 / 3))
  context = augment.resample(batch["image"], batch["size"], whole, size)
  sides = jnp.broadcast_to(jnp.asarray(size, jnp.int32), batch["size"].shape)
  part = augment.random_boxes(inner_key, sides, inner, (3 / 4, 4 / 3))
  mirrored = jax.random.bernoulli(flip_key, 0.5 if flip else 0.0, (2, len(part)))
  image = augment.resample(_rounded(context), sides, part, size, mirrored[0])
  context = jnp.where(mirrored[1][:, None, None, None], context[:, :, ::-1], context)
  view = augment.with_image(batch, augment.normalize(image, mean, std))
  return dict(view, crop=view["image"], context=augment.normalize(context, mean, std))


def center_with_crop(
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  resize: float = 256 / 224,
  zoom: float = 0.67,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops the centre (augment.center_crop) as image and context, and its middle as crop.

  Encoders are evaluated on `image`; pictures predict `crop`, whose sides are `zoom` of the
  context's, from the context. All are [b h w c].
  """
  view = augment.center_crop(batch, size=size, resize=resize, mean=mean, std=std)
  pixels = _rounded(augment.denormalize(view["image"], mean, std) * 255)
  sides = jnp.broadcast_to(jnp.asarray(size, jnp.int32), batch["size"].shape)
  extent = zoom * sides.astype(jnp.float32)
  box = jnp.concatenate([(sides.astype(jnp.float32) - extent) / 2, extent], -1)
  crop = augment.normalize(augment.resample(pixels, sides, box, size), mean, std)
  return dict(view, context=view["image"], crop=crop)


def _rounded(pixels: Float[Array, "b h w c"]) -> Array:
  """Rounds pixels in 0..255 to whole numbers."""
  return jnp.round(pixels).astype(jnp.uint8)
