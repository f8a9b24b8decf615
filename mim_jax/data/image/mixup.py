"""Augmentations of supervised recipes beyond crops: mixup, cutmix, random erasing.

Letters: b batch, t times, h w c, k classes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from mim_jax import errors
from mim_jax.data.image import augment, randaugment


def crop_and_augment(
  key: Array,
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  scale: tuple[float, float] = (0.08, 1.0),
  aspect: tuple[float, float] = (3 / 4, 4 / 3),
  flip: bool = True,
  changes: int = 2,
  magnitude: float = 9.0,
  erase: float = 0.25,
  mixup: float = 0.8,
  cutmix: float = 1.0,
  classes: int = 0,
  smoothing: float = 0.1,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops, flips, and applies RandAugment, erasing, mixup or cutmix (supervised training view).

  Of images [b H W c], and of clips [b t H W c], whose frames are all changed alike.

  size, scale, aspect, flip, mean, std: see augment.crop_and_flip.
  changes, magnitude: of RandAugment; 0 changes for none.
  erase: chance of random erasing.
  mixup, cutmix: alphas, 0 for none; with both, each batch gets one or the other.
  classes: with more than 0 the view has `target` float32 [b k], one-hot, smoothed and mixed.
  smoothing: of the labels.

  Source: MAE's fine-tuning (arXiv 2111.06377, table 9), as in DeiT.
  """
  keys = jax.random.split(key, 5)
  box = augment.random_boxes(keys[0], batch["size"], scale, aspect)
  mirrored = jax.random.bernoulli(keys[1], 0.5 if flip else 0.0, box.shape[:1])

  def one(image):
    image = augment.resample(image, batch["size"], box, size, mirrored)
    if changes:
      image = randaugment.rand_augment(keys[2], image, count=changes, magnitude=magnitude)
    return augment.normalize(image, mean, std)

  image = each_frame(one, batch["image"])
  hole = holes(keys[3], image.shape[0], size, erase)
  noise = jax.random.normal(jax.random.fold_in(keys[3], 1), image.shape)
  image = jnp.where(_over(hole, image), noise, image)
  view = augment.with_image(batch, image)
  if classes:
    view["target"] = smoothed(batch["label"], classes, smoothing)
  return mixed(keys[4], view, mixup, cutmix)


def each_frame(change: Callable, image: Array) -> Array:
  """Applies change([b h w c]) to images, or to every frame of clips [b t h w c] in the same way.

  Whatever chance `change` uses, it must have been drawn before or come from a key it holds.
  """
  return jax.vmap(change, in_axes=1, out_axes=1)(image) if image.ndim == 5 else change(image)


def holes(
  key: Array,
  count: int,
  size: tuple[int, int],
  chance: float,
  area: tuple[float, float] = (0.02, 1 / 3),
  aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Bool[Array, "b h w"]:
  """Draws boxes for random erasing: one in each image with this chance, of random area and aspect.

  Source: Zhong et al., arXiv 1708.04896, with the ranges of timm.
  """
  box_key, chance_key = jax.random.split(key)
  sizes = jnp.broadcast_to(jnp.asarray(size, jnp.int32), (count, 2))
  box = jnp.round(augment.random_boxes(box_key, sizes, area, aspect))
  drawn = jax.random.bernoulli(chance_key, chance, (count, 1, 1))
  return _inside(box, size) & drawn


def smoothed(label: Int[Array, "b"], classes: int, smoothing: float) -> Float[Array, "b k"]:
  """Smooths one-hot labels: `smoothing` is spread over all classes."""
  return jax.nn.one_hot(label, classes) * (1 - smoothing) + smoothing / classes


def mixed(key: Array, view: dict[str, Any], mixup: float, cutmix: float) -> dict[str, Any]:
  """Mixes images, and `target` if there is one, with those of the batch reversed.

  mixup: alpha of the Beta from which the fraction of the first image is drawn. cutmix: likewise, of
  the fraction outside of a box that comes from the second. With both above 0 each batch gets one,
  with equal chance; one fraction a batch. InputError for alphas below 0. Source: Zhang et al.,
  arXiv 1710.09412; Yun et al., arXiv 1905.04899; mixed batch-wise and reversed as timm does.
  """
  if mixup < 0 or cutmix < 0:
    raise errors.InputError(
      f"view: mixup {mixup} and cutmix {cutmix} are alphas and at least 0 (none); 0.8 and 1.0 are "
      "usual."
    )
  if not mixup and not cutmix:
    return view
  keys = jax.random.split(key, 4)
  image = view["image"]
  size = (image.shape[-3], image.shape[-2])
  blend = jax.random.beta(keys[0], mixup or 1.0, mixup or 1.0)
  cut = _inside(_cut(keys[1], jax.random.beta(keys[2], cutmix or 1.0, cutmix or 1.0), size), size)
  outside = 1.0 - jnp.mean(cut.astype(jnp.float32))
  chance = 0.5 if mixup and cutmix else float(cutmix > 0)
  cuts = jax.random.bernoulli(keys[3], chance)
  fraction = jnp.where(cuts, outside, blend)
  pasted = jnp.where(_over(cut, image), image[::-1], image)
  found = dict(view, image=jnp.where(cuts, pasted, blend * image + (1 - blend) * image[::-1]))
  if "target" in view:
    found["target"] = fraction * view["target"] + (1 - fraction) * view["target"][::-1]
  return found


def _cut(key: Array, fraction: Array, size: tuple[int, int]) -> Float[Array, "1 4"]:
  """Draws a box with 1 - fraction of the area about a uniform middle, clipped at the border."""
  whole = jnp.asarray(size, jnp.float32)
  extent = jnp.floor(whole * jnp.sqrt(1 - fraction))
  middle = jnp.floor(jax.random.uniform(key, (2,)) * whole)
  start = jnp.clip(middle - jnp.floor(extent / 2), 0, whole)
  stop = jnp.clip(middle + jnp.floor(extent / 2), 0, whole)
  return jnp.concatenate([start, stop - start])[None]


def _inside(box: Float[Array, "b 4"], size: tuple[int, int]) -> Bool[Array, "b h w"]:
  """Marks the pixels that lie in the boxes (top, left, height, width)."""
  spans = []
  for side in (0, 1):
    place = jnp.arange(size[side], dtype=jnp.float32)[None]
    start, extent = box[:, side, None], box[:, side + 2, None]
    spans.append((place >= start) & (place < start + extent))
  return spans[0][:, :, None] & spans[1][:, None]


def _over(mask: Bool[Array, "b h w"], image: Array) -> Array:
  """Gives the mask the axes of images [b h w c] or clips [b t h w c]."""
  return mask[:, None, :, :, None] if image.ndim == 5 else mask[..., None]
