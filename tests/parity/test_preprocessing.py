"""Views against torchvision's published pipeline, written with PIL, which it calls."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from mim_jax.data.image import augment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DRAWS, TRIES = 10_000, 10


def picture(height, width, seed=0):
  """An image with coarse and fine structure and sharp edges, uint8."""
  random = np.random.default_rng(seed)
  coarse = random.uniform(0, 255, (7, 9, 3)).astype(np.float32)
  wide = [
    np.asarray(PIL.Image.fromarray(coarse[..., c]).resize((width, height), PIL.Image.BILINEAR))
    for c in range(3)
  ]
  image = np.stack(wide, -1) + random.normal(0, 20, (height, width, 3))
  image[height // 3 : height // 2, width // 4 : width // 2] = (250, 10, 120)
  return np.clip(image, 0, 255).astype(np.uint8)


def published(image, side):
  """Resize(side x 256 / 224, bicubic), CenterCrop(side), ToTensor, Normalize."""
  height, width = image.shape[:2]
  short = int(side * 256 / 224)
  scale = lambda other: int(short * other / min(height, width))
  size = (short, scale(height)) if width <= height else (scale(width), short)
  whole = np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.BICUBIC), np.float32)
  top, left = (round((length - side) / 2.0) for length in whole.shape[:2])
  cut = whole[top : top + side, left : left + side] / 255
  return (cut - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)


def ours(image, side, canvas):
  height, width = image.shape[:2]
  held = np.zeros((1, canvas, canvas, 3), np.uint8)
  held[0, :height, :width] = image
  batch = {"image": jnp.asarray(held), "size": jnp.asarray([[height, width]], jnp.int32)}
  view = augment.center_crop(batch, size=(side, side), resize=256 / 224, mean=MEAN, std=STD)
  return np.asarray(view["image"][0])


SIZES = [(448, 448, 224), (256, 512, 224), (512, 256, 112)]  # resize and crop to whole pixels
SIZES += [(375, 500, 224), (500, 375, 224), (180, 240, 224), (256, 256, 96)]  # by rounding


@pytest.mark.parametrize(("height", "width", "side"), SIZES)
def test_the_evaluation_view_is_that_of_the_published_pipeline(height, width, side):
  assert gap(height, width, side) < 0.5


def gap(height, width, side):
  """Mean absolute difference in levels of 255."""
  image = picture(height, width)
  found = np.abs(ours(image, side, 512) - published(image, side)) * np.asarray(STD)
  return found.mean() * 255


def reference_boxes(random, height, width, scale, aspect):
  """RandomResizedCrop of torchvision, in whole pixels."""
  for _ in range(TRIES):
    area = height * width * random.uniform(*scale)
    ratio = math.exp(random.uniform(math.log(aspect[0]), math.log(aspect[1])))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      return h, w
  if width / height < aspect[0]:
    return round(width / aspect[0]), width
  if width / height > aspect[1]:
    return height, round(height * aspect[1])
  return height, width


def kolmogorov(a, b):
  """The largest gap between two empirical distributions."""
  every = np.sort(np.concatenate([a, b]))
  below = [np.searchsorted(np.sort(x), every, side="right") / len(x) for x in (a, b)]
  return np.abs(below[0] - below[1]).max()


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (224, 700)])
@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.67, 1.0)])
def test_training_crops_have_the_published_areas_and_aspects(height, width, scale):
  aspect, random = (3 / 4, 4 / 3), np.random.default_rng(0)
  theirs = np.asarray(
    [reference_boxes(random, height, width, scale, aspect) for _ in range(DRAWS)], float
  )
  size = jnp.broadcast_to(jnp.asarray([[height, width]], jnp.int32), (DRAWS, 2))
  boxes = np.asarray(augment.random_boxes(jax.random.key(0), size, scale, aspect), float)
  mine = np.round(boxes[:, 2:])  # theirs are whole pixels
  limit = 1.95 * np.sqrt(2 / DRAWS)  # the 0.1 % point; there are twelve of them
  assert kolmogorov(mine.prod(1), theirs.prod(1)) < limit
  assert kolmogorov(mine[:, 1] / mine[:, 0], theirs[:, 1] / theirs[:, 0]) < limit
