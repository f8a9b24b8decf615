import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mim_jax import errors
from mim_jax.data.image import mixup

NORM = dict(mean=(0.5,) * 3, std=(0.25,) * 3)


def batch(b=6, side=24, t=None):
  shape = (b, side, side, 3) if t is None else (b, t, side, side, 3)
  image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  sizes = np.full((b, 2), side, np.int32)
  return dict(
    image=jnp.asarray(image), size=jnp.asarray(sizes), label=jnp.arange(b, dtype=jnp.int32) % 4
  )


def view(n):
  """A view whose image i has the value i and whose target is one-hot i."""
  image = jnp.broadcast_to(jnp.arange(n, dtype=jnp.float32)[:, None, None, None], (n, 8, 8, 1))
  return dict(image=image, target=jnp.eye(n))


@pytest.mark.parametrize("kind", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_targets_are_shared_as_the_pixels_are(kind):
  mixing = jax.jit(lambda key: mixup.mixed(key, view(4), *kind))
  cut = 0
  for seed in range(30):
    found = mixing(jax.random.key(seed))
    image, target = np.asarray(found["image"])[..., 0], np.asarray(found["target"])
    np.testing.assert_allclose(target.sum(1), 1.0, rtol=1e-6)
    # Image i holds i and 3 - i only, in the shares that its target says.
    expected = np.asarray(target) @ np.arange(4.0)
    np.testing.assert_allclose(image.mean((1, 2)), expected, atol=1e-5)
    whole = np.isin(np.round(image, 5), range(4)).all()
    cut += whole
  assert cut == 30 if kind == (0.0, 1.0) else cut == 0 if kind == (0.8, 0.0) else 5 < cut < 25


def test_shares_of_mixup_are_drawn_from_the_beta():
  mixing = jax.jit(jax.vmap(lambda key: mixup.mixed(key, view(2), 0.8, 0.0)["target"][0, 0]))
  shares = np.asarray(mixing(jax.random.split(jax.random.key(1), 2000)))
  assert stats.kstest(shares, "beta", args=(0.8, 0.8)).pvalue > 1e-3
  with pytest.raises(errors.InputError, match=r"mixup -1\.0"):
    mixup.mixed(jax.random.key(0), view(2), -1.0, 0.0)
  assert mixup.mixed(jax.random.key(0), view(2), 0.0, 0.0)["target"][0, 0] == 1


def test_holes_have_the_published_area_and_chance():
  hole = np.asarray(mixup.holes(jax.random.key(0), 4000, (64, 64), 0.25))
  drawn = hole.any((1, 2))
  assert abs(drawn.mean() - 0.25) < 0.03
  area = hole[drawn].mean((1, 2))
  assert area.min() > 0.01
  assert area.max() < 0.36
  assert np.ptp(np.flatnonzero(hole[drawn][0].any(1))) + 1 == hole[drawn][0].any(1).sum()  # a box


def test_labels_are_smoothed():
  target = np.asarray(mixup.smoothed(jnp.asarray([2, 0]), 4, 0.1))
  np.testing.assert_allclose(target, [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]])


def test_the_whole_view_of_images():
  view = jax.jit(
    lambda key, b: mixup.crop_and_augment(key, b, size=(8, 8), changes=1, classes=4, **NORM)
  )
  found = view(jax.random.key(0), batch())
  assert found["image"].shape == (6, 8, 8, 3)
  assert found["target"].shape == (6, 4)
  assert "size" not in found
  assert np.isfinite(found["image"]).all()


def test_all_frames_of_a_clip_are_changed_alike():
  clips = batch(t=1)
  still = dict(clips, image=jnp.broadcast_to(clips["image"], (6, 3, 24, 24, 3)))
  settings = dict(size=(8, 8), erase=0.0, changes=1, **NORM)
  view = jax.jit(lambda key, b: mixup.crop_and_augment(key, b, **settings))
  for seed in range(3):
    key = jax.random.key(seed)
    found = np.asarray(view(key, still)["image"])
    assert found.shape == (6, 3, 8, 8, 3)
    np.testing.assert_allclose(found[:, 1:], found[:, :1].repeat(2, 1), atol=1e-5)
    alone = dict(clips, image=clips["image"][:, 0])
    np.testing.assert_allclose(found[:, 0], view(key, alone)["image"], atol=1e-4)
