"""The training view of methods that change colours, too. Letters: b batch, h w c."""

from typing import Any

import jax
from jax import Array

from mim_jax.data.image import augment, colour


def crop_flip_and_jitter(
  key: Array,
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  scale: tuple[float, float] = (0.08, 1.0),
  aspect: tuple[float, float] = (3 / 4, 4 / 3),
  flip: bool = True,
  jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.0),
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops and flips as `augment.crop_and_flip`, and jitters the colours of the view.

  size, scale, aspect, flip, mean, std: see augment.crop_and_flip.
  jitter: of brightness, contrast, saturation and hue, as in `colour.jitter`.

  Source: the reference of BEiT, which changes colours before the crop; only the mean grey that
  contrast turns about differs.
  """
  box_key, flip_key, colour_key = jax.random.split(key, 3)
  box = augment.random_boxes(box_key, batch["size"], scale, aspect)
  mirrored = jax.random.bernoulli(flip_key, 0.5 if flip else 0.0, box.shape[:1])
  image = augment.resample(batch["image"], batch["size"], box, size, mirrored)
  image = colour.jitter(colour_key, image, jitter)
  return augment.with_image(batch, augment.normalize(image, mean, std))
