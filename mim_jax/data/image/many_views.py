"""Multi-crop: large and small views of each image. Letters: b batch, l local views, h w c."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.data.image import augment, colour

BLUR = (0.1, 2.0)  # std in pixels, uniform


def multi_crop(
  key: Array,
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  scale: tuple[float, float] = (0.25, 1.0),
  local_size: tuple[int, int],
  local_scale: tuple[float, float] = (0.05, 0.25),
  local_count: int = 10,
  flip: bool = True,
  jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
  jittered: float = 0.8,
  grey: float = 0.2,
  blur: tuple[float, float, float] = (1.0, 0.1, 0.5),
  solarize: tuple[float, float, float] = (0.0, 0.2, 0.0),
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops two large views, image and other [b h w c], and small ones, local [b l h w c].

  size, scale: of the large views and their boxes' area.
  local_size, local_scale, local_count: likewise of the small ones, and how many.
  flip: mirrors half of the views.
  jitter, jittered: strength of the colour jitter, and its chance.
  grey, blur, solarize: chances; three numbers are for image, other and local.
  mean, std: of the channels.

  Each is a random box of the image. All are float32 and normalised; `size` is gone. Source: DINO,
  appendix C (arXiv 2104.14294); iBOT, appendix.
  """
  view = functools.partial(
    _view, batch, flip=0.5 * flip, jitter=jitter, jittered=jittered, grey=grey
  )
  keys = jax.random.split(key, 2 + local_count)
  chances = jnp.asarray([blur, solarize], jnp.float32).T
  large = jax.vmap(lambda k, p: view(k, p, size=size, scale=scale))(keys[:2], chances[:2])
  small = jax.vmap(lambda k: view(k, chances[2], size=local_size, scale=local_scale))(keys[2:])
  first, second = (augment.normalize(image, mean, std) for image in large)
  local = augment.normalize(jnp.moveaxis(small, 0, 1).reshape(-1, *small.shape[2:]), mean, std)
  local = local.reshape(-1, local_count, *local.shape[1:])
  return augment.with_image(batch, first) | dict(other=second, local=local)


def center_views(
  batch: dict[str, Any],
  *,
  size: tuple[int, int],
  local_size: tuple[int, int],
  resize: float = 256 / 224,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> dict[str, Any]:
  """Crops the centre (augment.center_crop) as image and other, and small ones as local [b 1 h w c].

  Encoders are evaluated on `image`; the others let an objective run on what evaluations see.
  """
  view = augment.center_crop(batch, size=size, resize=resize, mean=mean, std=std)
  small = augment.center_crop(batch, size=local_size, resize=resize, mean=mean, std=std)["image"]
  return dict(view, other=view["image"], local=small[:, None])


def _view(
  batch: dict[str, Any],
  key: Array,
  chances: Float[Array, "2"],
  *,
  size: tuple[int, int],
  scale: tuple[float, float],
  flip: float,
  jitter: tuple[float, float, float, float],
  jittered: float,
  grey: float,
) -> Float[Array, "b h w c"]:
  """Makes one view in 0..255; `chances` of being blurred and of being solarised."""
  keys = jax.random.split(key, 8)
  box = augment.random_boxes(keys[0], batch["size"], scale, (3 / 4, 4 / 3))
  mirrored = jax.random.bernoulli(keys[1], flip, box.shape[:1])
  image = augment.resample(batch["image"], batch["size"], box, size, mirrored)
  image = colour.sometimes(keys[2], jittered, colour.jitter(keys[3], image, jitter), image)
  image = colour.sometimes(keys[4], grey, colour.grey(image), image)
  std = jax.random.uniform(keys[5], image.shape[:1], minval=BLUR[0], maxval=BLUR[1])
  image = colour.sometimes(keys[6], chances[0], colour.blur(image, std, BLUR[1]), image)
  return colour.sometimes(keys[7], chances[1], colour.solarize(image), image)
