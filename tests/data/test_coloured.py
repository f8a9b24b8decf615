"""A view whose colours change."""

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax.data.image import augment, coloured

SETTINGS = dict(size=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


def batch(b=6):
  image = np.random.default_rng(0).integers(0, 256, (b, 12, 12, 3), np.uint8)
  size = jnp.asarray([[12, 12]] * b, jnp.int32)
  return {"image": jnp.asarray(image), "size": size, "label": jnp.arange(b)}


def test_without_changes_it_is_the_random_crop():
  key, given = jax.random.key(0), batch()
  found = coloured.crop_flip_and_jitter(
    key, given, jitter=(0.0,) * 4, scale=(1.0, 1.0), flip=False, **SETTINGS
  )
  whole = jnp.asarray([[0.0, 0.0, 12.0, 12.0]] * 6)
  plain = augment.resample(given["image"], given["size"], whole, (8, 8))
  assert set(found) == {"image", "label"}
  scale = augment.normalize(plain, SETTINGS["mean"], SETTINGS["std"])
  np.testing.assert_allclose(found["image"], scale, atol=2e-3)


def test_colours_change_within_their_range():
  key, given = jax.random.key(0), batch()
  view = dict(scale=(1.0, 1.0), flip=False, **SETTINGS)
  plain, found = (
    augment.denormalize(
      coloured.crop_flip_and_jitter(key, given, jitter=jitter, **view)["image"],
      (0.5,) * 3,
      (0.25,) * 3,
    )
    for jitter in ((0.0,) * 4, (0.4, 0.0, 0.0, 0.0))
  )
  ratio = found.sum((1, 2, 3)) / plain.sum((1, 2, 3))
  assert ratio.min() >= 0.6 - 1e-3
  assert ratio.max() <= 1.4 + 1e-3
  assert ratio.std() > 0.05
