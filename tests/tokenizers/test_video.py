import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import tokenizers
from mim_jax.errors import InputError
from mim_jax.ops import patches


def test_cubes_are_cut_by_time_row_column_and_hold_frame_row_column_channel():
  """Against cutting them out one by one."""
  clip = jax.random.normal(jax.random.key(0), (2, 4, 6, 8, 3))
  cut = np.asarray(patches.patchify(clip, (2, 3, 4)))
  assert cut.shape == (2, 2 * 2 * 2, 2 * 3 * 4 * 3)
  number = 0
  for t in range(0, 4, 2):
    for y in range(0, 6, 3):
      for x in range(0, 8, 4):
        cube = clip[:, t : t + 2, y : y + 3, x : x + 4]
        np.testing.assert_array_equal(cut[:, number], cube.reshape(2, -1))
        number += 1
  np.testing.assert_array_equal(patches.unpatchify(jnp.asarray(cut), (2, 2, 2), (2, 3, 4)), clip)


def test_a_token_is_a_3d_convolution_of_its_cube():
  clip = jax.random.normal(jax.random.key(0), (2, 4, 8, 8, 3))
  cubes = tokenizers.VideoCubes(tubelet=2, patch=4, width=5)
  params = cubes.init(jax.random.key(1), clip)
  kernel, bias = (params["params"]["embed"][name] for name in ("kernel", "bias"))
  expected = jax.lax.conv_general_dilated(
    clip,
    kernel.reshape(2, 4, 4, 3, 5),
    (2, 4, 4),
    "VALID",
    dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
  )
  tokens = cubes.apply(params, clip)
  np.testing.assert_allclose(tokens.values, expected.reshape(2, 8, 5) + bias[None, None], atol=1e-5)
  bound = (2 * 4 * 4 * 3) ** -0.5
  assert np.abs(kernel).max() <= bound
  assert np.abs(kernel).max() > 0.9 * bound


def test_positions_are_numbers_in_raster_order_or_coordinates():
  clip = jnp.zeros((1, 4, 4, 6, 1))
  for flat, expected in (
    (True, np.arange(12)[:, None]),
    (False, [(t, y, x) for t in range(2) for y in range(2) for x in range(3)]),
  ):
    cubes = tokenizers.VideoCubes(tubelet=2, patch=2, width=4, flat=flat)
    tokens, _ = cubes.init_with_output(jax.random.key(0), clip)
    assert tokens.grid == (2, 2, 3)
    np.testing.assert_array_equal(tokens.positions[0], expected)


def test_clips_that_hold_no_whole_cubes_are_refused():
  cubes = tokenizers.VideoCubes(tubelet=2, patch=4, width=4)
  with pytest.raises(InputError, match="a side of 5 is not a whole number of patches of 2"):
    cubes.init(jax.random.key(0), jnp.zeros((1, 5, 8, 8, 1)))
