import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mim_jax import errors
from mim_jax.data.image import augment

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
resample = jax.jit(augment.resample, static_argnums=3)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def smooth(height, width, seed=0):
  noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
  return np.asarray(Image.fromarray(noise).resize((width, height), Image.BICUBIC))


def on_canvas(*images, canvas=64):
  """The images on canvases full of noise, none of which may be seen in a view."""
  packed = np.random.default_rng(9).integers(0, 256, (len(images), canvas, canvas, 3), np.uint8)
  for place, image in zip(packed, images, strict=True):
    place[: image.shape[0], : image.shape[1]] = image
  size = np.array([image.shape[:2] for image in images], np.int32)
  return {
    "image": jnp.asarray(packed),
    "size": jnp.asarray(size),
    "label": jnp.arange(len(images), dtype=jnp.int32),
  }


def pillow(image, box, view):
  top, left, height, width = box
  resized = Image.fromarray(image).resize(
    view[::-1], Image.BICUBIC, box=(left, top, left + width, top + height)
  )
  return np.asarray(resized).astype(np.float32)


def difference(batch, box, view, image):
  ours = resample(batch["image"], batch["size"], jnp.asarray([box], jnp.float32), view)
  return np.abs(np.asarray(ours[0]) - pillow(image, box, view)).mean()


@pytest.mark.parametrize(
  ("shape", "box", "view"),
  [
    ((60, 48), (0, 0, 60, 48), (24, 24)),  # down
    ((20, 30), (0, 0, 20, 30), (48, 64)),  # up
    ((40, 64), (3.5, 10.25, 30, 20.5), (16, 32)),  # both, between pixels
    ((64, 64), (40, 40, 24, 24), (24, 24)),  # neither
  ],
)
def test_resampling_agrees_with_pillow(shape, box, view):
  image = smooth(*shape)
  assert difference(on_canvas(image), box, view, image) < 0.4  # most of it is Pillow's rounding


@pytest.mark.parametrize("view", [(24, 40), (96, 70)])
def test_resampling_agrees_with_jax_where_the_image_fills_the_canvas(view):
  image = smooth(64, 64)
  box = jnp.asarray([[8.0, 4.0, 48.0, 56.0]], jnp.float32)
  batch = on_canvas(image)
  ours = resample(batch["image"], batch["size"], box, view)[0]
  factor = jnp.asarray(view, jnp.float32) / box[0, 2:]
  theirs = jax.image.scale_and_translate(
    batch["image"][0].astype(jnp.float32), (*view, 3), (0, 1), factor, -box[0, :2] * factor, "cubic"
  )
  np.testing.assert_allclose(ours, jnp.clip(theirs, 0.0, 255.0), atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 57)])
def test_the_whole_image_at_its_own_size_is_the_image(height, width):
  image = smooth(height, width)
  batch = on_canvas(image)
  box = jnp.asarray([[0, 0, height, width]], jnp.float32)
  view = resample(batch["image"], batch["size"], box, (height, width))
  np.testing.assert_array_equal(view[0], image.astype(np.float32))
  views = [augment.center_crop(batch, size=(height, width), resize=1.0, **PLAIN)]
  if height == width:
    whole = {"scale": (1.0, 1.0), "aspect": (1.0, 1.0), "flip": False}
    views += [augment.crop_and_flip(jax.random.key(0), batch, size=(64, 64), **whole, **PLAIN)]
  for view in views:  # up to the last bit of the division by 255
    np.testing.assert_allclose(view["image"][0], image.astype(np.float32) / 255, rtol=2e-7)


def test_center_crop_is_resize_then_crop_as_in_pillow():
  wide, tall = smooth(48, 60), smooth(64, 32, seed=1)
  views = augment.center_crop(on_canvas(wide, tall), size=(28, 28), resize=32 / 28, **PLAIN)
  for image, view in zip((wide, tall), views["image"], strict=True):
    short = min(image.shape[:2])
    height, width = (side * 32 // short for side in image.shape[:2])
    whole = Image.fromarray(image).resize((width, height), Image.BICUBIC)
    top, left = (height - 28) // 2, (width - 28) // 2
    expected = np.asarray(whole.crop((left, top, left + 28, top + 28)), np.float32)
    assert np.abs(np.asarray(view) * 255 - expected).mean() < 0.5


def test_views_are_normalised_and_keep_the_other_entries():
  batch = on_canvas(smooth(40, 40), smooth(64, 50))
  view = augment.center_crop(batch, size=(16, 24), mean=MEAN, std=STD)
  assert set(view) == {"image", "label"}
  assert view["image"].shape == (2, 16, 24, 3)
  assert view["image"].dtype == jnp.float32
  plain = augment.center_crop(batch, size=(16, 24), **PLAIN)["image"]
  back = augment.denormalize(view["image"], MEAN, STD)
  np.testing.assert_allclose(back, plain, atol=1e-6)
  assert augment.denormalize(view["image"] * 9.0, MEAN, STD).max() == 1


def test_flips_mirror_half_of_the_images():
  batch = on_canvas(*[smooth(16, 16)] * 200, canvas=16)
  whole = {"size": (8, 8), "scale": (1.0, 1.0), "aspect": (1.0, 1.0)}
  views, straight = (
    jax.jit(lambda key, flip=flip: augment.crop_and_flip(key, batch, flip=flip, **whole, **PLAIN))(
      jax.random.key(1)
    )["image"]
    for flip in (True, False)
  )
  same = np.isclose(views, straight, atol=1e-5).all((1, 2, 3))
  mirrored = np.isclose(views, straight[:, :, ::-1], atol=1e-5).all((1, 2, 3))
  assert (same ^ mirrored).all()
  assert 70 < same.sum() < 130


@settings(max_examples=30, deadline=None)
@given(
  st.integers(1, 400),
  st.integers(1, 400),
  st.floats(0.05, 1),
  st.floats(1, 3),
  st.integers(0, 2**31),
)
def test_boxes_lie_inside_the_image(height, width, low, stretch, seed):
  size = jnp.full((64, 2), jnp.asarray([height, width], jnp.int32))
  aspect = (1 / stretch, stretch)
  top, left, h, w = np.asarray(
    augment.random_boxes(jax.random.key(seed), size, (low, 1.0), aspect), np.float64
  ).T
  slack = 1e-4 * max(height, width)
  assert min(top.min(), left.min()) >= 0
  assert min(h.min(), w.min()) > 0
  assert (top + h).max() <= height + slack
  assert (left + w).max() <= width + slack
  assert (w / h).max() <= stretch * 1.001
  assert (w / h).min() >= 0.999 / stretch


def test_boxes_follow_the_published_distribution():
  size = jnp.full((4000, 2), 100, jnp.int32)
  draw = jax.jit(lambda key: augment.random_boxes(key, size, (0.1, 0.5), (3 / 4, 4 / 3)))
  boxes = draw(jax.random.key(0))
  top, left, height, width = np.asarray(boxes).T
  area, ratio = height * width / 1e4, np.log(width / height)
  uniform = np.linspace(0.05, 0.95, 19)
  np.testing.assert_allclose(np.quantile(area, uniform), 0.1 + 0.4 * uniform, atol=0.02)
  spread = np.log(4 / 3) * (2 * uniform - 1)
  np.testing.assert_allclose(np.quantile(ratio, uniform), spread, atol=0.02)
  for place in (top / (100 - height), left / (100 - width)):
    np.testing.assert_allclose(np.quantile(place, uniform), uniform, atol=0.03)


def test_where_nothing_fits_the_largest_central_box_is_taken():
  size = jnp.asarray([[10, 1000], [1000, 10]], jnp.int32)
  boxes = augment.random_boxes(jax.random.key(0), size, (0.9, 1.0), (0.5, 2.0))
  expected = [[0, 490, 10, 20], [490, 0, 20, 10]]
  np.testing.assert_allclose(boxes, np.array(expected, np.float32), rtol=1e-6)


def test_views_that_cannot_be_are_explained():
  batch = on_canvas(smooth(40, 40))
  with pytest.raises(errors.InputError, match="below 1"):
    augment.center_crop(batch, size=(8, 8), resize=0.9, **PLAIN)
  with pytest.raises(errors.InputError, match="has 1 numbers; images have 3"):
    augment.center_crop(batch, size=(8, 8), mean=(0.5,), std=(0.5,))
  with pytest.raises(errors.InputError, match="ranges"):
    augment.random_boxes(jax.random.key(0), batch["size"], (1.0, 0.2), (1.0, 1.0))


def test_views_compile_and_depend_on_the_key_alone():
  batch = on_canvas(smooth(40, 64), smooth(64, 64))
  crop = jax.jit(lambda key, b: augment.crop_and_flip(key, b, size=(16, 16), mean=MEAN, std=STD))
  first, again, other = (crop(jax.random.key(seed), batch)["image"] for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("shape", [(75, 100), (67, 100), (97, 61), (96, 96), (72, 101), (40, 55)])
def test_the_evaluation_view_is_that_of_pillow_resize_then_center_crop(shape):
  view, short = 56, 64
  image = smooth(*shape, seed=3)
  height, width = shape
  resized = [short * height // min(shape), short * width // min(shape)]
  whole = Image.fromarray(image).resize(resized[::-1], Image.BICUBIC)
  top, left = (round((side - view) / 2) for side in resized)  # as torchvision's CenterCrop
  expected = np.asarray(whole.crop((left, top, left + view, top + view))).astype(np.float32)
  batch = on_canvas(image, canvas=104)
  found = augment.center_crop(batch, size=(view, view), resize=short / view, **PLAIN)["image"][0]
  assert np.abs(np.asarray(found) * 255 - expected).mean() < 0.5
