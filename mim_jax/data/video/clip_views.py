"""Views of a batch of clips, on the device. Letters: b batch, t frames, H W canvas, h w view.

All frames of a clip get the same box and the same flip: they ride through `augment` as channels.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Shaped

from mim_jax import errors
from mim_jax.data.image import augment

NEAR = 3  # pixels; a box whose side differs by less from the view's gets the view's


def multi_scale_crop(
  key: Array,
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66),
  flip: bool = False,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops a box out of few sizes and places from each clip, resized to `size` (training view).

  size, flip, mean, std: see augment.crop_and_flip.
  scales: of the box's sides, see `multi_scale_boxes`.

  Returns the batch with image float32 [b t h w c], normalised, and without `size`. Source:
  VideoMAE's reference (transforms.py), whose boxes are those of TSN; resampled as in `augment`.
  """
  box_key, flip_key = jax.random.split(key)
  box = multi_scale_boxes(box_key, batch["size"], size, scales)
  mirrored = jax.random.bernoulli(flip_key, 0.5 if flip else 0.0, box.shape[:1])
  t = _times(batch)
  image = augment.resample(_folded(batch["image"]), batch["size"], box, size, mirrored)
  mean, std = mean * t, std * t
  return _unfolded(augment.with_image(batch, augment.normalize(image, mean, std)), t)


def center(
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  resize: float = 1.0,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops the centre of every frame (evaluation view): augment.center_crop, image [b t h w c]."""
  t = _times(batch)
  folded = dict(batch, image=_folded(batch["image"]))
  view = augment.center_crop(folded, size=size, resize=resize, mean=mean * t, std=std * t)
  return _unfolded(view, t)


def pair_crop(
  key: Array,
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  scale: tuple[float, float] = (0.5, 1.0),
  flip: bool = True,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops two frames, context the first, image the second, float32 [b h w c] (training view).

  size, flip, mean, std: see augment.crop_and_flip.
  scale: range of the box's area as a fraction of the frame's.

  Both frames get the same box and the same flip. Source: SiamMAE, appendix A.
  """
  settings: Any = dict(size=size, scale=scale, flip=flip, mean=mean * 2, std=std * 2)
  return _separated(augment.crop_and_flip(key, _folded_pair(batch), **settings))


def pair_center(
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  resize: float = 1.0,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops the centre of two frames (evaluation view).

  Returns context, the first, and image, the second, [b h w c].
  """
  settings: Any = dict(size=size, resize=resize, mean=mean * 2, std=std * 2)
  return _separated(augment.center_crop(_folded_pair(batch), **settings))


def multi_scale_boxes(
  key: Array, size: Int[Array, "b 2"], view: tuple[int, int], scales: tuple[float, ...]
) -> Float[Array, "b 4"]:
  """Draws boxes (top, left, height, width) in whole pixels: a size and one of 13 places, uniformly.

  Sides are int(scale x the shorter side), the view's own where that is nearer than 3 pixels;
  heights and widths whose scales lie next to each other or are equal go together. Places are the
  corners, the centre, the middles of the edges and the quarter points.
  """
  pairs = [(i, j) for i in range(len(scales)) for j in range(len(scales)) if abs(i - j) <= 1]
  places = [(i, j) for i in range(5) for j in range(5) if i % 2 == j % 2]
  pair_key, place_key = jax.random.split(key)
  b = size.shape[0]
  chosen = jnp.asarray(pairs)[jax.random.randint(pair_key, (b,), 0, len(pairs))]  # [b 2]
  shorter = jnp.min(size, -1).astype(jnp.float32)[:, None]
  sides = jnp.maximum(jnp.floor(shorter * jnp.asarray(scales, jnp.float32)[None]), 1.0)
  extent = jnp.take_along_axis(sides.astype(jnp.int32), chosen, axis=1)
  wanted = jnp.asarray(view, jnp.int32)[None]
  extent = jnp.where(jnp.abs(extent - wanted) < NEAR, jnp.minimum(wanted, size), extent)
  place = jnp.asarray(places)[jax.random.randint(place_key, (b,), 0, len(places))]
  start = place * ((size - extent) // 4)
  return jnp.concatenate([start, extent], -1).astype(jnp.float32)


def _times(batch) -> int:
  if batch["image"].ndim != 5:
    raise errors.InputError(
      f"view: images are {batch['image'].shape}; clips [b t H W c] are wanted. Use a source of "
      "clips such as clips.clips or moving.moving_digits."
    )
  return batch["image"].shape[1]


def _folded(image: Shaped[Array, "b t H W c"]) -> Shaped[Array, "b H W tc"]:
  """Folds frames into channels, frame by frame."""
  b, _, height, width, _ = image.shape
  return jnp.moveaxis(image, 1, 3).reshape(b, height, width, -1)


def _unfolded(view: dict[str, Any], t: int) -> dict[str, Any]:
  b, h, w, _ = view["image"].shape
  return dict(view, image=jnp.moveaxis(view["image"].reshape(b, h, w, t, -1), 3, 1))


def _folded_pair(batch) -> dict[str, Any]:
  t = _times(batch)
  if t != 2:
    raise errors.InputError(
      f"view: clips have {t} frames, a pair has 2. Set data.train.sample to frames.pair."
    )
  return dict(batch, image=_folded(batch["image"]))


def _separated(view: dict[str, Any]) -> dict[str, Any]:
  """Separates two folded frames as context and image."""
  context, image = jnp.split(view["image"], 2, axis=-1)
  return dict(view, context=context, image=image)
