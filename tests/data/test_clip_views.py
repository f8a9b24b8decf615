import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import errors
from mim_jax.data.image import augment, crops
from mim_jax.data.video import clip_views

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PLAIN = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def clip_batch(b=3, t=4, side=32):
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (b, t, side // 4, side // 4, 3), np.uint8)
  image = coarse.repeat(4, 2).repeat(4, 3)
  return {
    "image": jnp.asarray(image),
    "size": jnp.asarray([[side, side], [side - 8, side], [side, side - 12]][:b], jnp.int32),
    "label": jnp.arange(b, dtype=jnp.int32),
  }


def ramp(side=64):
  """Red says the row, green the column, in 0..255."""
  rows, columns = np.meshgrid(np.arange(side) * 4, np.arange(side) * 4, indexing="ij")
  image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
  return {
    "image": jnp.asarray(np.broadcast_to(image, (24, side, side, 3))),
    "size": jnp.full((24, 2), side, jnp.int32),
  }


def alone(batch, frame):
  return dict(batch, image=batch["image"][:, frame])


def test_all_frames_get_the_view_that_each_would_get_alone():
  batch, size = clip_batch(), (16, 16)
  view = clip_views.center(batch, size=size, resize=1.25, mean=MEAN, std=STD)
  assert view["image"].shape == (3, 4, 16, 16, 3)
  assert set(view) == {"image", "label"}
  for t in range(4):
    one = augment.center_crop(alone(batch, t), size=size, resize=1.25, mean=MEAN, std=STD)["image"]
    np.testing.assert_allclose(view["image"][:, t], one, atol=1e-5)
  still = dict(batch, image=jnp.repeat(batch["image"][:, :1], 4, axis=1))
  moved = clip_views.multi_scale_crop(jax.random.key(0), still, size=size, flip=True, **PLAIN)[
    "image"
  ]
  for t in range(1, 4):
    np.testing.assert_array_equal(moved[:, t], moved[:, 0])
  assert not np.array_equal(moved[0, 0], moved[1, 0])


def test_a_pair_is_cut_and_turned_alike():
  batch = clip_batch(t=2)
  same = dict(batch, image=jnp.repeat(batch["image"][:, :1], 2, axis=1))
  for seed in range(3):
    view = clip_views.pair_crop(jax.random.key(seed), same, size=(16, 16), mean=MEAN, std=STD)
    assert view["image"].shape == view["context"].shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(view["image"], view["context"])
  view = clip_views.pair_center(batch, size=(16, 16), mean=MEAN, std=STD)
  for name, t in (("context", 0), ("image", 1)):
    one = augment.center_crop(alone(batch, t), size=(16, 16), resize=1.0, mean=MEAN, std=STD)
    np.testing.assert_allclose(view[name], one["image"], atol=1e-5)
  assert set(view) == {"image", "context", "label"}


def test_multi_scale_boxes_are_the_published_ones():
  """Ten pairs of sides and 13 places, all equally often: for a 320 x 426 video and a 224 view."""
  size = jnp.broadcast_to(jnp.asarray([320, 426], jnp.int32), (13000, 2))
  scales = (1.0, 0.875, 0.75, 0.66)
  boxes = clip_views.multi_scale_boxes(jax.random.key(0), size, (224, 224), scales)
  top, left, height, width = np.asarray(boxes).astype(int).T
  sides = (320, 280, 240, 211)
  pairs = {(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1}
  found, counts = np.unique(np.stack([height, width], 1), axis=0, return_counts=True)
  assert {tuple(row) for row in found} == pairs
  np.testing.assert_allclose(counts / 13000, 1 / 10, atol=0.012)
  down, right = (320 - height) // 4, (426 - width) // 4
  here = (height == 240) & (width == 240)  # where all places differ
  places, counts = np.unique(
    np.stack([top[here] // down[here], left[here] // right[here]], 1), axis=0, return_counts=True
  )
  assert len(places) == 13
  assert {(0, 0), (0, 4), (4, 4), (2, 2), (0, 2), (1, 3)} <= {tuple(row) for row in places}
  np.testing.assert_allclose(counts / here.sum(), 1 / 13, atol=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**31))
def test_multi_scale_boxes_lie_in_the_clip(height, width, seed):
  size = jnp.full((32, 2), jnp.asarray([height, width], jnp.int32))
  boxes = clip_views.multi_scale_boxes(jax.random.key(seed), size, (224, 224), (1.0, 0.66))
  top, left, h, w = np.asarray(boxes).T
  assert min(top.min(), left.min()) >= 0
  assert min(h.min(), w.min()) >= 1
  assert (top + h).max() <= height
  assert (left + w).max() <= width


def test_a_side_near_the_views_is_the_views():
  size = jnp.full((64, 2), 226, jnp.int32)
  boxes = clip_views.multi_scale_boxes(jax.random.key(0), size, (224, 224), (1.0, 0.5))
  assert set(np.asarray(boxes)[:, 2:].ravel().tolist()) == {224.0, 113.0}


def test_the_local_view_lies_in_the_global_one():
  """Of an image whose colours are coordinates; the kernel overshoots by little at its borders."""
  settings = dict(size=(32, 32), flip=False, **PLAIN)
  view = crops.global_and_local(jax.random.key(0), ramp(), **settings)
  for channel in (0, 1):
    outer, inner = (np.asarray(view[name][..., channel]) for name in ("context", "image"))
    assert (inner.min((1, 2)) >= outer.min((1, 2)) - 0.02).all()
    assert (inner.max((1, 2)) <= outer.max((1, 2)) + 0.02).all()
  spans = {
    name: np.prod([np.ptp(np.asarray(view[name][..., i]), axis=(1, 2)) for i in (0, 1)], axis=0)
    for name in view
    if name in ("image", "context")
  }
  share = spans["image"] / spans["context"]
  assert (share > 0.25).all()
  assert (share < 0.65).all()
  assert (spans["context"] > 0.07).all()


def test_the_views_of_an_image_are_mirrored_each_by_itself():
  settings = dict(size=(16, 16), **PLAIN)
  key = jax.random.key(1)
  straight, turned = (
    crops.global_and_local(key, ramp(), flip=flip, **settings) for flip in (False, True)
  )
  mirrored = {}
  for name in ("image", "context"):
    same = np.isclose(straight[name], turned[name], atol=1e-4).all((1, 2, 3))
    swapped = np.isclose(straight[name][:, :, ::-1], turned[name], atol=1e-4).all((1, 2, 3))
    assert (same ^ swapped).all()
    mirrored[name] = swapped
    assert 4 < swapped.sum() < 20
  assert (mirrored["image"] != mirrored["context"]).any()


def test_the_evaluation_view_is_the_usual_one_and_pictures_get_its_middle():
  batch, settings = ramp(), dict(size=(32, 32), resize=1.0, mean=MEAN, std=STD)
  view = crops.center_with_crop(batch, zoom=0.5, **settings)
  expected = augment.center_crop(batch, **settings)["image"]
  np.testing.assert_array_equal(view["image"], expected)
  np.testing.assert_array_equal(view["context"], expected)
  middle = augment.denormalize(view["crop"], MEAN, STD)[0, :, :, 0]
  np.testing.assert_allclose(middle[:, 0] * 255, 4 * (16 + np.arange(32) + 0.0), atol=5)


def test_views_of_what_is_no_clip_are_explained():
  batch = clip_batch(t=3)
  with pytest.raises(errors.InputError, match=r"clips \[b t H W c\] are wanted"):
    clip_views.center(alone(batch, 0), size=(8, 8), **PLAIN)
  with pytest.raises(errors.InputError, match=r"3 frames, a pair has 2.*frames\.pair"):
    clip_views.pair_center(batch, size=(8, 8), mean=MEAN, std=STD)
