"""Another network's view of an image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.errors import InputError
from mim_jax.ops import resize


def test_the_kernel_of_pytorch():
  """Weights at a quarter of a pixel by hand, a = -3/4; at the edge the last pixel is repeated."""
  image = jnp.eye(4)[:, None, :, None]  # one bright pixel a row
  found = np.asarray(resize.bicubic(image, (1, 8)))[:, 0, :, 0]
  taps = [-0.03515625, 0.26171875, 0.87890625, -0.10546875]  # pixels 0..3 seen from 1.75
  np.testing.assert_allclose(found[:, 4], taps, atol=1e-7)
  np.testing.assert_allclose(found[:, 3], taps[::-1], atol=1e-7)
  first = [taps[0] + taps[1] + taps[2], taps[3], 0, 0]  # seen from -0.25
  np.testing.assert_allclose(found[:, 0], first, atol=1e-7)


def test_it_does_not_smooth_when_it_shrinks():
  """Every second pixel of a wave as fast as pixels go: antialiasing would leave nothing of it."""
  wave = jnp.asarray([1.0, -1.0] * 8)[None, None, :, None]
  found = resize.bicubic(jnp.broadcast_to(wave, (1, 4, 16, 1)), (4, 14))
  assert np.abs(found).max() > 0.9


def test_a_constant_stays_and_the_own_size_is_exact():
  image = jax.random.normal(jax.random.key(0), (2, 8, 6, 3))
  np.testing.assert_array_equal(resize.bicubic(image, (8, 6)), image)
  flat = resize.bicubic(jnp.full((1, 16, 16, 1), 0.3), (14, 9))
  np.testing.assert_allclose(flat, 0.3, rtol=1e-6)


def test_a_view_is_normalised_anew():
  pixels = jax.random.uniform(jax.random.key(0), (2, 4, 4, 3))
  ours, theirs = ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))

  def normal(pair):
    mean, std = (jnp.asarray(x)[None, None, None] for x in pair)
    return (pixels - mean) / std

  found = resize.teacher_view(normal(ours), size=(4, 4), seen=ours, wanted=theirs)
  np.testing.assert_allclose(found, normal(theirs), atol=1e-5)
  same = resize.teacher_view(normal(ours), size=(4, 4), seen=ours, wanted=ours)
  np.testing.assert_array_equal(same, normal(ours))
  with pytest.raises(InputError, match="2 numbers of mean or deviation for 3 channels"):
    resize.teacher_view(pixels, size=(4, 4), seen=ours, wanted=((0.1, 0.2), (0.5, 0.6)))
