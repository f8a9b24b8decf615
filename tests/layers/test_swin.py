"""Windows that move, and what must not mix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.errors import InputError
from mim_jax.layers import shifted_windows


def block(shifted=True, window=4, heads=2):
  return shifted_windows.Block(heads, window, shifted)


def image(grid, b=1, d=8, seed=0):
  return jax.random.normal(jax.random.key(seed), (b, *grid, d))


def sees(model, grid):
  """Which cells each cell's output depends on, bool [n n]: each is changed in an image of its own."""
  n = grid[0] * grid[1]
  x = jnp.broadcast_to(image(grid).reshape(1, n, -1), (n + 1, n, 8))
  x = x.at[jnp.arange(n), jnp.arange(n)].set(5 * image((1, n), seed=2)[0, 0])
  x = x.reshape(n + 1, *grid, 8)
  params = jax.jit(model.init)(jax.random.key(1), x)
  y = np.asarray(jax.jit(model.apply)(params, x)).reshape(n + 1, n, 8)
  return (y[:-1] != y[-1:]).any(-1).T


@pytest.mark.parametrize(
  ("grid", "window", "shifted"),
  [((8, 8), 4, True), ((8, 8), 4, False), ((6, 9), 4, True), ((5, 4), 2, True), ((3, 8), 4, True)],
)
def test_windows_never_mix_across_the_border(grid, window, shifted):
  """A cell sees the cells of its window, and none else: not what the roll brings there, no padding."""
  sides, shift = shifted_windows.layout(grid, window, shifted)
  cell = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 2)
  place = (cell - np.asarray(shift)) // np.asarray(sides)  # -1: the strip before the first window
  together = (place[:, None] == place[None]).all(-1)
  np.testing.assert_array_equal(sees(block(shifted, window), grid), together)


def test_short_axes_are_one_window_and_never_shift():
  """Swin-B with windows of 6 at 192 pixels: shifts of 3 but in the last stage, of 6 x 6."""
  assert shifted_windows.layout((48, 48), 6, True) == ((6, 6), (3, 3))
  assert shifted_windows.layout((6, 6), 6, True) == ((6, 6), (0, 0))
  assert shifted_windows.layout((6, 12), 12, True) == ((6, 12), (0, 0))
  assert shifted_windows.layout((5, 12), 6, True) == ((5, 6), (0, 3))


@pytest.mark.parametrize(("grid", "window"), [((8, 8), (4, 4)), ((6, 9), (4, 2)), ((3, 3), (3, 3))])
@pytest.mark.parametrize("shift", [(0, 0), (1, 2)])
def test_joining_undoes_cutting(grid, window, shift):
  x = image(grid, b=2)
  np.testing.assert_array_equal(
    shifted_windows.joined(shifted_windows.cut(x, window, shift), grid, window, shift), x
  )


def test_windows_are_squares_of_the_image_row_by_row():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  cut = shifted_windows.cut(x, (2, 2), (0, 0))[..., 0]
  np.testing.assert_array_equal(cut, [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
  moved = shifted_windows.cut(x, (2, 2), (1, 1))[0, :, 0]
  np.testing.assert_array_equal(moved, [5, 6, 9, 10])


def test_without_a_shift_and_padding_nothing_is_masked():
  assert shifted_windows.same_region((8, 8), (4, 4), (0, 0)) is None
  assert shifted_windows.same_region((8, 8), (4, 4), (2, 2)).shape == (4, 16, 16)
  assert shifted_windows.same_region((6, 8), (4, 4), (0, 0)) is not None


def test_merging_takes_neighbours_column_by_column():
  x = jnp.arange(8.0).reshape(1, 2, 4, 1)
  model = shifted_windows.Merge()
  params = model.init(jax.random.key(0), x)["params"]
  assert params["reduce"]["kernel"].shape == (4, 2)
  assert "bias" not in params["reduce"]
  params["reduce"]["kernel"] = jnp.eye(4, 2)  # the first two of the four, normed
  found = model.apply({"params": params}, x)
  first, second = np.asarray([0.0, 4, 1, 5]), np.asarray([2.0, 6, 3, 7])
  normed = lambda v: (v - v.mean()) / np.sqrt(v.var() + 1e-5)
  np.testing.assert_allclose(found[0, 0, 0], normed(first)[:2], rtol=1e-5)
  np.testing.assert_allclose(found[0, 0, 1], normed(second)[:2], rtol=1e-5)


def test_an_odd_grid_cannot_be_merged():
  with pytest.raises(InputError, match=r"grid of 3 x 4 can't be halved.*multiples"):
    shifted_windows.Merge().init(jax.random.key(0), image((3, 4)))


def test_the_table_is_what_tells_places_apart():
  """With an empty table attention knows no places: cells of one value stay alike."""
  x = jnp.broadcast_to(image((1, 1)), (1, 4, 4, 8)).at[0, 0, 0, 0].add(1.0)
  model = block(False)
  params = jax.jit(model.init)(jax.random.key(1), x)["params"]
  assert params["relative_table"].shape == (49, 2)
  run = jax.jit(lambda table: model.apply({"params": dict(params, relative_table=table)}, x))
  table = jax.random.normal(jax.random.key(2), (49, 2)) * 5
  y = run(table).reshape(16, 8)
  assert np.abs(y[1] - y[2]).max() > 1e-5
  y = run(0 * table).reshape(16, 8)
  np.testing.assert_allclose(y[1:], jnp.broadcast_to(y[1:2], (15, 8)), atol=1e-6)
