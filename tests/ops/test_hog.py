"""Histograms of oriented gradients: recorded corner cases, and a slow definition of the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.errors import InputError
from mim_jax.ops import hog

RAMP = np.arange(12, dtype=np.float32)
RIGHT, DOWN = np.meshgrid(RAMP, RAMP)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
  ("picture", "bins", "expected"),
  [
    (RIGHT, 9, 4),
    (-RIGHT, 9, 4),
    (RIGHT, 18, 9),
    (-RIGHT, 18, 9),
    (DOWN, 9, 0),
    (-DOWN, 9, 0),
    (DOWN, 18, 0),
    (-DOWN, 18, 0),
    (-RIGHT - DOWN, 9, 2),
    (RIGHT + DOWN, 9, 2),
    (DOWN - RIGHT, 9, 6),
    (RIGHT - DOWN, 9, 6),
  ],
)
def test_the_bins_of_straight_edges(picture, bins, expected, jit):
  """Also where an angle lies on the border of two bins, and however it is compiled."""
  run = jax.jit(hog.orientation, static_argnums=1) if jit else hog.orientation
  found, magnitude = run(jnp.asarray(picture)[None, :, :, None], bins)
  assert set(np.asarray(found)[0, 1:-1, 1:-1].ravel()) == {expected}
  if picture is RIGHT:
    assert set(np.asarray(magnitude)[0, 1:-1, 1:-1].ravel()) == {8.0}


def slowly(image, cell, bins, bias):
  """Pixel by pixel, as the paper's reference does it, in float64."""
  padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1)), mode="reflect")
  kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float64)
  rows, columns = (side // cell for side in image.shape)
  found = np.zeros((rows, columns, bins))
  for i, j in np.ndindex(image.shape):
    window = padded[i : i + 3, j : j + 3]
    gx, gy = (window * kernel).sum() + bias[0], (window * kernel.T).sum() + bias[1]
    k = int(np.floor(np.arctan2(gx, gy) / np.pi * bins)) % bins
    found[i // cell, j // cell, k] += np.hypot(gx, gy) / cell**2
  length = np.sqrt((found**2).sum(-1, keepdims=True))
  return (found / np.maximum(length, 1e-12)).reshape(rows * columns, bins)


@pytest.mark.parametrize("bias", [(0.0, 0.0), (0.21, -0.13)])
def test_the_definition(bias):
  image = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
  found = hog.hog(jnp.asarray(image), 4, 9, bias)
  assert found.shape == (2, 6, 27)
  for b in range(2):
    expected = np.concatenate([slowly(image[b, :, :, c], 4, 9, bias) for c in range(3)], -1)
    np.testing.assert_allclose(found[b], expected, atol=1e-5)


def test_the_histogram_of_a_channel_has_length_one_and_of_a_flat_cell_zero():
  image = jax.random.normal(jax.random.key(0), (1, 8, 8, 2)).at[..., 1].set(3.0)
  found = hog.hog(image, 4, 9).reshape(1, 4, 2, 9)
  np.testing.assert_allclose(jnp.linalg.norm(found[:, :, 0], axis=-1), 1.0, rtol=1e-5)
  np.testing.assert_array_equal(found[:, :, 1], 0.0)
  pushed = hog.hog(image, 4, 9, (0.1, 0.1)).reshape(1, 4, 2, 9)[:, :, 1]
  np.testing.assert_allclose(pushed, jax.nn.one_hot(jnp.full((1, 4), 2), 9), atol=1e-6)


def test_brightness_and_contrast_change_nothing():
  image = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
  np.testing.assert_allclose(hog.hog(5 * image + 3, 2, 9), hog.hog(image, 2, 9), atol=1e-4)


def test_a_cell_that_does_not_fit_is_refused():
  with pytest.raises(InputError, match="not a whole number of patches of 3"):
    hog.hog(jnp.zeros((1, 8, 8, 1)), 3, 9)
