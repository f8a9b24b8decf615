"""Values on grids made coarser or finer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.errors import InputError
from mim_jax.ops import grids


def test_whole_scales_repeat_and_halves_take_means():
  values = jnp.arange(8.0).reshape(1, 8, 1)
  fine = grids.rescale(values, (2, 4), 2).reshape(4, 8)
  np.testing.assert_array_equal(fine, np.kron(np.arange(8.0).reshape(2, 4), np.ones((2, 2))))
  np.testing.assert_array_equal(grids.rescale(values, (2, 4), 0.5)[0, :, 0], [2.5, 4.5])
  np.testing.assert_array_equal(grids.rescale(values, (2, 4), 1), values)


@pytest.mark.parametrize("scale", [2.0, 3.0])
def test_back_and_forth(scale):
  values = jax.random.normal(jax.random.key(0), (2, 6, 3))
  there = grids.rescale(values, (2, 3), scale)
  grid = (int(2 * scale), int(3 * scale))
  np.testing.assert_allclose(grids.rescale(there, grid, 1 / scale), values, rtol=1e-6)


@pytest.mark.parametrize(("grid", "scale"), [((2, 3), 0.5), ((2, 3), 1.5), ((2, 3), 0.7)])
def test_scales_that_leave_something_over_are_refused(grid, scale):
  with pytest.raises(InputError, match="leave no row or column over"):
    grids.rescale(jnp.zeros((1, 6, 1)), grid, scale)
