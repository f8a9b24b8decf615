"""Rotary positions."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax.errors import InputError
from mim_jax.ops import positions, rope

CYCLES = (7e-4, 7.0)
places = st.lists(
  st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=3, max_size=3
)


def turned(x, coordinates, planes):
  """x [n h w] at coordinates [n 2], turned."""
  angle = rope.angles(jnp.asarray(coordinates, jnp.float32)[None], x.shape[-1], CYCLES)
  return np.asarray(rope.rotate(x[None], angle, planes)[0])


def pair(seed=0, width=16):
  x = np.random.default_rng(seed).normal(size=(2, 1, width))
  return jnp.asarray(x, jnp.float32)


@settings(max_examples=15, deadline=None)
@given(places)
def test_axial_turns_keep_lengths_and_products_depend_on_differences_alone(found):
  first, second, shift = (np.array(p, np.float64) for p in found)
  x = pair()
  here = turned(x, [first, second], 2)
  there = turned(x, [first + shift, second + shift], 2)
  np.testing.assert_allclose(np.linalg.norm(here, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)
  np.testing.assert_allclose((here[0] * here[1]).sum(), (there[0] * there[1]).sum(), atol=2e-3)


def test_coupled_turns_do_not():
  x = pair()
  here, there = (turned(x, [(a, 0.1), (a + 0.2, 0.7)], 1) for a in (0.0, 0.3))
  assert np.abs(np.linalg.norm(here, axis=-1) - np.linalg.norm(x, axis=-1)).max() > 0.01
  assert abs((here[0] * here[1]).sum() - (there[0] * there[1]).sum()) > 0.01


def test_on_the_diagonal_coupled_turns_are_a_rotation_too():
  """Where row = column both of a pair turn alike."""
  x = pair(1)
  here = turned(x, [(0.3, 0.3), (0.8, 0.8)], 1)
  np.testing.assert_allclose(np.linalg.norm(here, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)


def test_the_published_frequencies():
  """16 of them from 7e-4 to 7 cycles, twice in a row: first for the row, then for the column."""
  angle = np.asarray(rope.angles(jnp.asarray([[[1.0, 0.5]]]), 64, CYCLES))[0, 0]
  wanted = 2 * np.pi * 7 * (7 / 7e-4) ** (-np.arange(16) / 15)
  row, column = np.sort(angle[:16])[::-1], np.sort(angle[32:48])[::-1]
  np.testing.assert_allclose(row, wanted, rtol=1e-5)
  np.testing.assert_allclose(column, wanted / 2, rtol=1e-5)
  np.testing.assert_array_equal(angle[:16], angle[16:32])
  np.testing.assert_array_equal(angle[32:48], angle[48:])


def test_a_quarter_turn_by_hand():
  x = jnp.asarray([1.0, 2.0, 3.0, 4.0])[None, None, None]
  angle = jnp.asarray([np.pi / 2] * 4, jnp.float32)[None, None]
  np.testing.assert_allclose(rope.rotate(x, angle, 2)[0, 0, 0], [-2, 1, -4, 3], atol=1e-6)
  np.testing.assert_allclose(rope.rotate(x, angle, 1)[0, 0, 0], [-3, -4, 1, 2], atol=1e-6)
  assert rope.rotate(x.astype(jnp.bfloat16), angle, 2).dtype == jnp.bfloat16


def test_coordinates_reach_both_ends():
  where = positions.grid_positions((16, 16))[None]
  unit = np.asarray(rope.unit_coordinates(where, (16, 16)))[0]
  np.testing.assert_allclose(unit[16 * 3 + 5], [3 / 15, 5 / 15], rtol=1e-6)
  np.testing.assert_array_equal([unit[0], unit[-1]], [[0, 0], [1, 1]])
  one = rope.unit_coordinates(positions.grid_positions((1, 2))[None], (1, 2))
  np.testing.assert_array_equal(one[0], [[0, 0], [0, 1]])


def test_sixteen_registers_walk_around_the_box_of_what_is_visible():
  seen = jnp.asarray([[[0.2, 0.5], [0.6, 0.5], [0.4, 1.0]]])
  found = np.asarray(rope.edge(seen, 16))[0]
  unit = [(0, 0), (0.25, 0), (0.5, 0), (0.75, 0), (1, 0), (1, 0.25), (1, 0.5), (1, 0.75)]
  unit += [(1, 1), (0.75, 1), (0.5, 1), (0.25, 1), (0, 1), (0, 0.75), (0, 0.5), (0, 0.25)]
  wanted = np.array([0.2, 0.5]) + np.array(unit) * np.array([0.4, 0.5])
  np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_box_holds_real_tokens_only():
  seen = jnp.asarray([[[0.2, 0.5], [0.6, 0.7], [0.0, 0.0]]])
  valid = jnp.asarray([[True, True, False]])
  np.testing.assert_allclose(rope.edge(seen, 8, valid), rope.edge(seen[:, :2], 8))


def test_what_does_not_fit_is_refused():
  with pytest.raises(InputError, match="multiple of 4"):
    rope.edge(jnp.zeros((1, 2, 2)), 6)
  with pytest.raises(InputError, match="head of width 6 must be a multiple of 4"):
    rope.angles(jnp.zeros((1, 2, 2)), 6, CYCLES)
  with pytest.raises(InputError, match="do not lie on the grid"):
    rope.unit_coordinates(jnp.zeros((1, 2, 2)), (2,))
