"""Many views of an image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax.data.image import augment, many_views

PLAIN = dict(mean=(0.0,) * 3, std=(1.0,) * 3)
SIZES = dict(size=(16, 12), local_size=(6, 8))
STILL = dict(
  flip=False, jittered=0.0, grey=0.0, local_count=2, blur=(0.0,) * 3, solarize=(0.0,) * 3
)


def raw(b=4, side=24):
  image = np.random.default_rng(0).integers(0, 256, (b, side, side, 3), np.uint8)
  return {
    "image": jnp.asarray(image),
    "size": jnp.full((b, 2), side, jnp.int32),
    "label": jnp.arange(b),
  }


@functools.cache
def compiled(**settings):
  return jax.jit(lambda key: many_views.multi_crop(key, raw(), **SIZES, **PLAIN, **settings))


def made(seed=0, **settings):
  return compiled(**settings or dict(local_count=3))(jax.random.key(seed))


def test_shapes_keys_and_scale():
  found = made()
  assert {k: v.shape for k, v in found.items()} == {
    "image": (4, 16, 12, 3),
    "other": (4, 16, 12, 3),
    "local": (4, 3, 6, 8, 3),
    "label": (4,),
  }
  for name in ("image", "other", "local"):
    assert found[name].dtype == jnp.float32
    assert 0 <= found[name].min() < found[name].max() <= 1


def test_all_views_differ():
  found = made()
  assert not np.allclose(found["image"], found["other"])
  local = np.asarray(found["local"])
  assert not np.allclose(local[:, 0], local[:, 1])
  assert not np.allclose(found["image"], made(seed=1)["image"])


def test_unchanged_views_are_boxes_of_the_image():
  found = made(**STILL)
  keys = jax.random.split(jax.random.key(0), 4)
  batch = raw()
  for i, scale, size, view in (
    (0, (0.25, 1.0), SIZES["size"], found["image"]),
    (1, (0.25, 1.0), SIZES["size"], found["other"]),
    (3, (0.05, 0.25), SIZES["local_size"], found["local"][:, 1]),
  ):
    box = augment.random_boxes(
      jax.random.split(keys[i], 8)[0], batch["size"], scale, (3 / 4, 4 / 3)
    )
    shares = np.prod(box[:, 2:], 1) / 24**2
    assert (shares >= scale[0] - 1e-5).all()
    assert (shares <= scale[1] + 1e-5).all()
    expected = augment.resample(batch["image"], batch["size"], box, size) / 255
    np.testing.assert_allclose(view, expected, atol=1e-4)


def test_each_chance_is_for_its_view():
  plain = made(**STILL)
  changed = made(**STILL | dict(blur=(1.0, 0.0, 0.0), solarize=(0.0, 1.0, 0.0)))
  spread = lambda views: np.abs(np.diff(views["image"], axis=1)).mean()
  assert spread(changed) < 0.8 * spread(plain)
  inverted = jnp.where(plain["other"] * 255 >= 128, 1 - plain["other"], plain["other"])
  np.testing.assert_allclose(changed["other"], inverted, atol=1e-5)
  np.testing.assert_allclose(changed["local"], plain["local"], atol=1e-5)


def test_the_evaluation_view_is_the_centre_crop():
  found = many_views.center_views(raw(), **SIZES, **PLAIN)
  centre = augment.center_crop(raw(), size=SIZES["size"], **PLAIN)["image"]
  np.testing.assert_array_equal(found["image"], centre)
  np.testing.assert_array_equal(found["other"], centre)
  assert found["local"].shape == (4, 1, 6, 8, 3)
