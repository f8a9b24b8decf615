"""Views of several signals, and the maps made for the digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import errors
from mim_jax.data import pipeline
from mim_jax.data.image import augment, sources
from mim_jax.data.pool import map_views, pseudo

NORM = dict(mean=(0.3,), std=(0.4,))


def batch_of(b=3, side=8, seed=0):
  rng = np.random.default_rng(seed)
  image = rng.integers(0, 256, (b, side, side, 1), np.uint8)
  batch = dict(
    image=image,
    size=np.full((b, 2), side, np.int32),
    label=np.arange(b, dtype=np.int32),
    depth=image[..., 0].astype(np.uint16) * 200,
    semantic=(image[..., 0] // 64).astype(np.uint16),
  )
  return {key: jnp.asarray(value) for key, value in batch.items()}


@pytest.mark.parametrize("flip", [False, True])
def test_all_signals_share_one_box_and_flip(flip):
  """A map that repeats the image's columns is cut like the image."""
  b, side = 16, 8
  ramp = np.tile(np.arange(side) * 30, (b, side, 1))
  batch = batch_of(b) | dict(
    image=jnp.asarray(ramp[..., None], jnp.uint8),
    depth=jnp.asarray(ramp * 100, jnp.uint16),
    semantic=jnp.asarray(ramp // 30, jnp.uint16),
  )
  view = jax.jit(
    lambda key: map_views.crop_and_flip(
      key, batch, size=(8, 8), scale=(0.3, 0.6), flip=flip, coarser=1, mean=(0.0,), std=(1.0,)
    )
  )(jax.random.key(0))
  column = np.asarray(view["image"])[:, :, :, 0].mean(1) * 255 / 30  # in pixels of the source
  ids = np.asarray(view["semantic"])[:, 0].astype(float)
  assert np.abs(column - ids).max() < 1.1  # nearest, where the image is interpolated
  depth = np.asarray(view["depth"])[:, 0, :, 0]
  for row in range(b):
    assert np.corrcoef(depth[row], column[row])[0, 1] > 0.95
  assert (np.diff(column).mean(1) < 0).any() == flip


def test_the_image_is_that_of_the_plain_view():
  batch, key = batch_of(), jax.random.key(1)
  plain = augment.crop_and_flip(key, batch, size=(8, 8), **NORM)
  np.testing.assert_array_equal(
    map_views.crop_and_flip(key, batch, size=(8, 8), **NORM)["image"], plain["image"]
  )


def test_the_whole_image_comes_back_and_classes_may_be_coarser():
  batch = batch_of()
  view = map_views.center_crop(batch, size=(8, 8), resize=1.0, coarser=1, **NORM)
  np.testing.assert_array_equal(view["semantic"], batch["semantic"])
  wanted = map_views.standardize(batch["depth"].astype(jnp.float32) / 65_536)
  np.testing.assert_array_equal(view["depth"][..., 0], wanted)
  assert "size" not in view
  coarse = map_views.center_crop(batch, size=(8, 8), resize=1.0, coarser=4, **NORM)["semantic"]
  np.testing.assert_array_equal(coarse, batch["semantic"][:, 2::4, 2::4])
  assert coarse.dtype == jnp.int32


def test_a_smaller_middle_is_cut_alike():
  view = map_views.center_crop(batch_of(), size=(4, 4), resize=2.0, coarser=1, **NORM)
  np.testing.assert_array_equal(view["semantic"], batch_of()["semantic"][:, 2:6, 2:6])


def test_images_alone_have_a_view_too():
  batch = {key: value for key, value in batch_of().items() if key in ("image", "size")}
  assert set(map_views.center_crop(batch, size=(8, 8), **NORM)) == {"image"}


def test_maps_end_where_the_image_ends_on_its_canvas():
  values = jnp.zeros((1, 8, 8), jnp.uint16).at[:, :4, :3].set(7)
  size, box = jnp.asarray([[4, 3]]), jnp.asarray([[-1.0, -1.0, 6.0, 5.0]])
  found = map_views.nearest(values, size, box, (6, 6), jnp.zeros([1], bool))
  assert (np.asarray(found) == 7).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_standardised_depth_forgets_scale_shift_and_outliers(seed, scale, shift):
  rng = np.random.default_rng(seed)
  depth = jnp.asarray(rng.normal(size=(2, 6, 7)), jnp.float32)
  found = np.asarray(map_views.standardize(depth))
  np.testing.assert_allclose(map_views.standardize(depth * scale + shift), found, atol=2e-3)
  wild = jnp.where(depth == jnp.max(depth), 1e3, depth)
  np.testing.assert_allclose(map_views.standardize(wild)[depth < 1], found[depth < 1], atol=1e-4)


def test_standardised_depth_by_hand():
  """Ranks 4 to 35 of 42 count: floor(.1 n) to floor(.9 n) - 1; the variance is unbiased."""
  depth = np.random.default_rng(0).permutation(42).astype(np.float32).reshape(1, 6, 7)
  kept = np.arange(4, 37, dtype=np.float64)
  wanted = (depth - kept.mean()) / np.sqrt(kept.var(ddof=1) + 1e-6)
  np.testing.assert_allclose(map_views.standardize(jnp.asarray(depth)), wanted, rtol=1e-5)


def test_soft_distance_grows_away_from_the_ink():
  ink = np.zeros((1, 8, 8))
  ink[0, 3, 3] = 1.0
  found = pseudo.soft_distance(ink)[0]
  away = np.hypot(*(np.mgrid[:8, :8] - 3))
  np.testing.assert_allclose(found, away, atol=3e-2)  # one point of ink: the distance to it
  thick = np.zeros((1, 8, 8))
  thick[0, 2:5, 2:5] = 1.0
  assert pseudo.soft_distance(thick)[0, 3, 3] < pseudo.soft_distance(thick)[0, 2, 2] < 0.5


def test_classes_of_a_stroke():
  ink = np.zeros((1, 5, 5))
  ink[0, 2, 1:4] = [0.5, 1.0, 1.0]
  found = pseudo.stroke_classes(ink)[0]
  wanted = [[0, 0, 0, 0, 0], [0, 0, 3, 3, 0], [0, 1, 2, 2, 3], [0, 0, 3, 3, 0], [0, 0, 0, 0, 0]]
  np.testing.assert_array_equal(found, wanted)


def test_the_digits_with_maps_are_a_source():
  source, plain = (made(split="test") for made in (pseudo.digits_with_maps, sources.digits))
  assert isinstance(source, sources.Source)
  assert len(source) == len(plain)
  assert source.classes == plain.classes
  assert source.fingerprint != plain.fingerprint
  assert source.names(np.array([3])) == plain.names(np.array([3]))
  batch = next(pipeline.batches(source, 64, 0))
  assert batch["depth"].shape == batch["semantic"].shape == (64, 8, 8)
  assert batch["depth"].dtype == batch["semantic"].dtype == np.uint16
  assert set(np.unique(batch["semantic"])) == set(range(pseudo.CLASSES))
  # Nothing is cut off at the ends of the range.
  assert 0 < batch["depth"].min() < batch["depth"].max() < 65_535


def test_maps_are_made_of_ones_own_images(tmp_path):
  ink = sources.digits(split="test")
  grey = ink[np.arange(len(ink))]["image"]
  np.savez(tmp_path / "own.npz", images=np.repeat(grey, 3, -1))
  own = pseudo.arrays_with_maps(path=str(tmp_path / "own.npz"), split="all")
  given = pseudo.digits_with_maps(split="test")
  for name in ("depth", "semantic"):
    np.testing.assert_array_equal(own.maps[name], given.maps[name])
  np.save(tmp_path / "large.npy", np.zeros((10, 65, 8), np.uint8))
  with pytest.raises(errors.InputError, match=r"65 x 8 pixels, but .* up to 64.*dataset=folder"):
    pseudo.arrays_with_maps(path=str(tmp_path / "large.npy"), split="all")
