"""Each change against Pillow, and the draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mim_jax.data.image import randaugment


def photo(seed=0, height=40, width=56):
  noise = np.random.default_rng(seed).integers(60, 180, (height // 2, width // 2, 3), np.uint8)
  return Image.fromarray(noise).resize((width, height), Image.BICUBIC)


def on_device(image):
  return jnp.asarray(np.asarray(image), jnp.float32)[None]


def one(value):
  return jnp.asarray([value], jnp.float32)


def matrix(image, values):
  return image.transform(
    image.size, Image.AFFINE, values, resample=Image.BILINEAR, fillcolor=(128, 128, 128)
  )


GREY = (128, 128, 128)
CASES = dict(
  autocontrast=(randaugment.autocontrast, ImageOps.autocontrast),
  equalize=(randaugment.equalize, ImageOps.equalize),
  posterize=(lambda x: randaugment.posterize(x, one(3)), lambda i: ImageOps.posterize(i, 3)),
  sharper=(
    lambda x: randaugment.sharpness(x, one(1.8).reshape(1, 1, 1, 1)),
    lambda i: ImageEnhance.Sharpness(i).enhance(1.8),
  ),
  smoother=(
    lambda x: randaugment.sharpness(x, one(0.2).reshape(1, 1, 1, 1)),
    lambda i: ImageEnhance.Sharpness(i).enhance(0.2),
  ),
  rotated=(
    lambda x: randaugment.rotated(x, one(25.0)),
    lambda i: i.rotate(25, Image.BILINEAR, fillcolor=GREY),
  ),
  shear_x=(
    lambda x: randaugment.sheared(x, one(0.2), one(0.0)),
    lambda i: matrix(i, (1, 0.2, 0, 0, 1, 0)),
  ),
  shear_y=(
    lambda x: randaugment.sheared(x, one(0.0), one(-0.2)),
    lambda i: matrix(i, (1, 0, 0, -0.2, 1, 0)),
  ),
  translated=(
    lambda x: randaugment.translated(x, one(0.25), one(-0.1)),
    lambda i: matrix(i, (1, 0, 0.25 * i.width, 0, 1, -0.1 * i.height)),
  ),
)


@pytest.mark.parametrize("name", CASES)
def test_changes_are_those_of_pillow(name):
  ours, theirs = CASES[name]
  found = np.asarray(ours(on_device(photo())))[0]
  expected = np.asarray(theirs(photo())).astype(np.float32)
  assert np.abs(found - expected).mean() < 0.6  # of 255; Pillow rounds
  assert np.abs(expected - np.asarray(photo())).mean() > 2  # something was to be seen


def test_solarize_add_and_flat_images():
  image = on_device(photo())
  raised = np.asarray(randaugment.solarize_add(image, one(50.0)))
  expected = np.where(image < 128, np.clip(image + 50, 0, 255), image)
  np.testing.assert_allclose(raised, expected)
  flat = jnp.full((1, 8, 8, 3), 77.0)
  for change in (randaugment.autocontrast, randaugment.equalize):
    np.testing.assert_array_equal(change(flat), flat)


def test_no_chance_or_no_change_leaves_the_image():
  images, key = on_device(photo(0, 8, 8)), jax.random.key(0)
  same = jax.jit(lambda x: randaugment.rand_augment(key, x, count=1, chance=0.0))(images)
  np.testing.assert_array_equal(same, images)
  np.testing.assert_array_equal(randaugment.rand_augment(key, images, count=0), images)


def test_every_change_is_drawn_equally_often_and_stays_in_range():
  names = list(randaugment.CHANGES)
  image = on_device(photo(0, 12, 12))
  made = {
    name: np.asarray(randaugment.CHANGES[name](image, one(1.0), one(sign)))[0]
    for name in names
    for sign in (1.0,)
  }
  assert all(x.min() >= 0 and x.max() <= 255 for x in made.values())
  many = jnp.broadcast_to(image, (1500, *image.shape[1:]))
  drawn = jax.jit(
    lambda key, x: randaugment.rand_augment(key, x, count=1, magnitude=10.0, std=0.0, chance=1.0)
  )(jax.random.key(0), many)
  for name in ("equalize", "autocontrast", "posterize", "solarize_add"):
    share = np.mean([np.allclose(x, made[name], atol=1e-3) for x in np.asarray(drawn)])
    assert abs(share - 1 / len(names)) < 4 * np.sqrt(1 / len(names) / 1500), name
