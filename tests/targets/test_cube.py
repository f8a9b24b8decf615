import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import targets
from mim_jax.errors import InputError
from mim_jax.targets import cube

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


def by_hand(clip, tubelet, patch):
  """Every colour of every cube of [0, 1] pixels: x - mean over unbiased deviation + 1e-6."""
  b, t, h, w, c = clip.shape
  rows = []
  for i in range(0, t, tubelet):
    for y in range(0, h, patch):
      for x in range(0, w, patch):
        values = clip[:, i : i + tubelet, y : y + patch, x : x + patch].reshape(b, -1, c)
        deviation = values.std(1, ddof=1, keepdims=True) + 1e-6
        rows.append(((values - values.mean(1, keepdims=True)) / deviation).reshape(b, -1))
  return np.stack(rows, 1)


@pytest.mark.parametrize("spread", [1.0, 1e-5])
def test_each_colour_of_each_cube_is_normalised_by_itself(spread):
  """Also where epsilon matters: its scale is that of [0, 1] pixels, not of normalised ones."""
  rng = np.random.default_rng(0)
  clip = 0.5 + spread * (rng.random((2, 4, 8, 8, 3)) - 0.5)
  normalised = ((clip - np.array(MEAN)) / np.array(STD)).astype(np.float32)
  found = targets.cubes({"image": jnp.asarray(normalised)}, tubelet=2, patch=4, std=STD)
  assert found.shape == (2, 2 * 2 * 2, 2 * 4 * 4 * 3)
  np.testing.assert_allclose(found, by_hand(clip, 2, 4), atol=2e-6 / spread, rtol=0.02)
  if spread == 1.0:
    colours = np.asarray(found).reshape(2, 8, -1, 3)
    np.testing.assert_allclose(colours.mean(2), 0, atol=1e-5)
    np.testing.assert_allclose(np.square(colours).mean(2), 31 / 32, rtol=1e-4)


def test_a_cube_of_one_colour_is_zero_and_statistics_put_it_back():
  cut = jax.random.normal(jax.random.key(0), (2, 3, 24))
  normalised, mean, deviation = cube.normalize_cubes(cut, STD)
  back = normalised.reshape(2, 3, 8, 3) * deviation + mean
  np.testing.assert_allclose(back.reshape(cut.shape), cut, atol=1e-5)
  np.testing.assert_array_equal(cube.normalize_cubes(jnp.full((1, 1, 24), 0.25), STD)[0], 0)


def test_cubes_without_a_deviation_are_refused():
  for std, values in ((STD, 3), ((0.2, 0.3), 5)):
    with pytest.raises(InputError, match="one number a channel"):
      cube.normalize_cubes(jnp.zeros((1, 1, values)), std)
