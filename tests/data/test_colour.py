"""Changes of colour against Pillow and colorsys."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from mim_jax.data.image import colour


def pixels(b=2, h=16, w=12, c=3, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (b, h, w, c), np.uint8)


def real(images):
  return jnp.asarray(images, jnp.float32)


def each(images, change):
  return np.stack([np.asarray(change(Image.fromarray(image))) for image in images]).astype(float)


def factors(*values):
  return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
@pytest.mark.parametrize(
  ("ours", "theirs"),
  [
    (colour.brightness, ImageEnhance.Brightness),
    (colour.contrast, ImageEnhance.Contrast),
    (colour.saturation, ImageEnhance.Color),
  ],
)
def test_enhancements_are_pillows(ours, theirs, factor):
  images = pixels()
  found = ours(real(images), factors(factor, factor))
  np.testing.assert_allclose(found, each(images, lambda i: theirs(i).enhance(factor)), atol=1.5)


def test_every_image_has_its_own_factor():
  images = pixels()
  found = colour.brightness(real(images), factors(0.0, 1.0))
  np.testing.assert_array_equal(found[0], 0)
  np.testing.assert_array_equal(found[1], images[1])


def test_hue_is_turned_as_in_colorsys():
  images = pixels(b=3, h=5, w=5)
  images[0, 0] = np.asarray([[0] * 3, [255] * 3, [9] * 3, [255, 0, 0], [0, 0, 255]])  # and greys
  turns = (0.0, 0.1, -0.45)
  found = colour.turned(real(images), factors(*turns))

  def turned(pixel, turn):
    hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
    return 255 * np.asarray(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))

  expected = [
    [[turned(p, turn) for p in row] for row in image]
    for image, turn in zip(images, turns, strict=True)
  ]
  np.testing.assert_allclose(found, expected, atol=2e-3)


def test_grey_and_solarize_are_pillows():
  images = pixels()
  np.testing.assert_allclose(
    colour.grey(real(images))[..., 0], each(images, lambda i: i.convert("L")), atol=1
  )
  np.testing.assert_array_equal(colour.solarize(real(images)), each(images, ImageOps.solarize))
  one = real(pixels(c=1))
  np.testing.assert_array_equal(colour.grey(one), one)


def test_blur_is_a_gaussian_with_repeated_edges():
  from scipy import ndimage

  images, deviations = real(pixels()), np.asarray([0.1, 2.0])
  found = jax.jit(colour.blur, static_argnums=2)(images, jnp.asarray(deviations, jnp.float32), 2.0)
  expected = [
    ndimage.gaussian_filter(i, (s, s, 0), mode="nearest", truncate=3 * 2 / s)
    for i, s in zip(np.asarray(images), deviations, strict=True)
  ]
  np.testing.assert_allclose(found, expected, atol=0.05)
  smooth = np.asarray(Image.fromarray(pixels(1, 6, 6)[0]).resize((40, 40), Image.BICUBIC))
  theirs = each([smooth], lambda i: i.filter(ImageFilter.GaussianBlur(1.5)))
  ours = colour.blur(real(smooth[None]), jnp.asarray([1.5]), 2.0)
  assert np.abs(ours - theirs).mean() < 1  # Pillow's is three box filters


def test_jitter_keeps_to_its_strength_and_differs_between_images():
  images = real(np.full((400, 1, 1, 3), 100, np.uint8))
  found = jax.jit(lambda k: colour.jitter(k, images, (0.4, 0.0, 0.0, 0.0)))(jax.random.key(0))
  assert found.min() >= 60 - 1e-3
  assert found.max() <= 140 + 1e-3
  assert found.min() < 62
  assert found.max() > 138
  np.testing.assert_allclose(
    colour.jitter(jax.random.key(0), images, (0.0,) * 4), images, rtol=1e-5
  )


def test_the_order_of_changes_is_drawn():
  """Bright pixels are cut off at 255, so that the order shows."""
  images = real(pixels(b=1))
  run = jax.jit(lambda k: colour.jitter(k, images, (0.8, 0.8, 0.8, 0.0)))
  factor = lambda key, i: (
    0.2 + 1.6 * jax.random.uniform(jax.random.split(key, 5)[1 + i], (1, 1, 1, 1))
  )
  names = (colour.brightness, colour.contrast, colour.saturation)
  import itertools

  seen = set()
  for seed in range(12):
    key = jax.random.key(seed)
    found = run(key)
    for order in itertools.permutations(range(3)):
      made = images
      for i in order:
        made = names[i](made, factor(key, i))
      if np.allclose(found, made, atol=1e-2):
        seen.add(order)
  assert len(seen) >= 4


def test_grey_images_have_no_hue():
  one = real(pixels(c=1))
  found = colour.jitter(jax.random.key(1), one, (0.4, 0.4, 0.2, 0.1))
  assert found.shape == one.shape
  assert not np.allclose(found, one)


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_sometimes(chance):
  image = jnp.zeros((2000, 1, 1, 1))
  found = colour.sometimes(jax.random.key(0), chance, image + 1, image)
  assert abs(found.mean() - chance) < 0.05
