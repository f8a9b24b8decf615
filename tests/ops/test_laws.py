"""Laws of patches, gather and positions that must hold for any sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.ops import gather, patches, positions

few = settings(max_examples=20, deadline=None)
small = st.integers(1, 4)
seeds = st.integers(0, 2**31 - 1)


def normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def permutations(seed, b, n):
  rng = np.random.default_rng(seed)
  return jnp.asarray(np.stack([rng.permutation(n) for _ in range(b)]), jnp.int32)


@few
@given(small, st.tuples(small, small), st.tuples(small, small), small, seeds)
def test_unpatchify_undoes_patchify_for_images(b, grid, patch, c, seed):
  image = normal(seed, b, grid[0] * patch[0], grid[1] * patch[1], c)
  cut = patches.patchify(image, patch)
  assert cut.shape == (b, grid[0] * grid[1], patch[0] * patch[1] * c)
  np.testing.assert_array_equal(patches.unpatchify(cut, grid, patch), image)


@few
@given(st.tuples(small, small, small), st.tuples(small, small, small), small, seeds)
def test_unpatchify_undoes_patchify_for_clips(grid, patch, c, seed):
  clip = normal(seed, 2, *(g * p for g, p in zip(grid, patch, strict=True)), c)
  np.testing.assert_array_equal(
    patches.unpatchify(patches.patchify(clip, patch), grid, patch), clip
  )


@few
@given(small, small, small, seeds)
def test_patchify_keeps_every_value_once(rows, columns, patch, seed):
  image = normal(seed, 1, rows * patch, columns * patch, 2)
  np.testing.assert_array_equal(np.sort(patches.patchify(image, patch), None), np.sort(image, None))


@few
@given(small, small, small, seeds)
def test_a_patch_is_the_crop_at_its_cell(rows, columns, patch, seed):
  image = normal(seed, 1, rows * patch, columns * patch, 3)
  cut = patches.patchify(image, patch)
  for cell, (i, j) in enumerate(np.ndindex(rows, columns)):
    crop = image[0, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
    np.testing.assert_array_equal(cut[0, cell], crop.reshape(-1))


@few
@given(small, st.integers(1, 12), seeds)
def test_inverse_undoes_a_permutation(b, n, seed):
  order, values = permutations(seed, b, n), normal(seed, b, n, 3)
  np.testing.assert_array_equal(core.take(core.take(values, order), gather.inverse(order)), values)


@few
@given(small, st.integers(1, 12), seeds)
def test_inverse_equals_a_second_argsort(b, n, seed):
  order = permutations(seed, b, n)
  np.testing.assert_array_equal(gather.inverse(order), jnp.argsort(order, axis=1))


@few
@given(small, st.integers(2, 12), st.data())
def test_member_lists_exactly_what_is_in_the_set(b, n, data):
  m = data.draw(st.integers(1, n))
  index = permutations(data.draw(seeds), b, n)[:, :m]
  found = np.asarray(gather.member(index, n))
  for row in range(b):
    assert set(np.flatnonzero(found[row])) == set(np.asarray(index[row]).tolist())


@few
@given(small, st.integers(2, 12), st.data())
def test_place_then_take_gives_the_values_back(b, n, data):
  m, seed = data.draw(st.integers(1, n)), data.draw(seeds)
  index, base, values = (
    permutations(seed, b, n)[:, :m],
    normal(seed, b, n, 2),
    normal(seed + 1, b, m, 2),
  )
  placed = gather.place(values, index, base)
  np.testing.assert_array_equal(core.take(placed, index), values)
  untouched = ~np.asarray(gather.member(index, n))
  np.testing.assert_array_equal(np.asarray(placed)[untouched], np.asarray(base)[untouched])


@few
@given(small, st.integers(1, 6), small, small, seeds)
def test_take_by_groups_is_take_of_each_group(b, n, g, m, seed):
  values = normal(seed, b, n, 2)
  index = jnp.asarray(np.random.default_rng(seed).integers(0, n, (b, g, m)), jnp.int32)
  together = core.take(values, index)
  for group in range(g):
    np.testing.assert_array_equal(together[:, group], core.take(values, index[:, group]))


@few
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 4))
def test_position_codes_are_unit_circles_and_distinct(grid, quarter):
  p = len(grid)
  width = 2 * p * (quarter + 1)
  code = np.asarray(positions.sincos(positions.grid_positions(tuple(grid)), width))
  half = width // p // 2
  pairs = code.reshape(-1, p, half, 2).swapaxes(2, 3) if p == 1 else code.reshape(-1, p, 2, half)
  np.testing.assert_allclose(np.square(pairs).sum(2), 1.0, atol=1e-5)
  assert len(np.unique(code.round(5), axis=0)) == len(code)


@few
@given(small, small, seeds)
def test_position_codes_depend_on_place_alone(rows, columns, seed):
  where = positions.grid_positions((rows, columns))
  order = permutations(seed, 1, rows * columns)[0]
  np.testing.assert_array_equal(
    positions.sincos(where[order], 8), positions.sincos(where, 8)[order]
  )


@few
@given(small, small, st.integers(1, 5), seeds)
def test_weighted_mean_ignores_what_weighs_nothing(b, g, m, seed):
  values = normal(seed, b, g, m)
  weight = (normal(seed + 1, b, g, m) > 0).astype(jnp.float32)
  noisy = jnp.where(weight > 0, values, 1e6)
  np.testing.assert_array_equal(
    core.weighted_mean(values, weight), core.weighted_mean(noisy, weight)
  )


def test_weighted_mean_and_take_refuse_shapes_that_would_broadcast():
  with pytest.raises(ValueError, match="differ"):
    core.weighted_mean(jnp.ones((2, 1, 3)), jnp.ones((2, 1, 1)))
  with pytest.raises(ValueError, match="rows"):
    core.take(jnp.ones((2, 3, 1)), jnp.zeros((1, 2), jnp.int32))


def test_a_patch_that_does_not_divide_is_refused_with_those_that_do():
  with pytest.raises(
    InputError, match=r"a side of 30 .* patches of 8.*1, 2, 3, 5, 6, 10, 15, 30.*image size to 32"
  ):
    patches.patchify(jnp.zeros((1, 30, 32, 3)), 8)
  with pytest.raises(InputError, match="2 spatial axes"):
    patches.patch_grid((8, 8), (2, 2, 2))


def test_widths_that_fit_no_sines_are_refused():
  for p, width in ((2, 3), (0, 8)):
    with pytest.raises(InputError, match=f"at least {2 * p}"):
      positions.sincos(jnp.zeros((4, p)), width)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [24, 96, 384, 768, 1024, 1280])
def test_every_house_width_has_positions_and_what_is_left_over_is_0(p, width):
  where = positions.grid_positions((3, 2, 2, 2)[:p])
  code, used = np.asarray(positions.sincos(where, width)), width // (2 * p) * 2 * p
  assert code.shape == (len(where), width) and width - used < 2 * p
  np.testing.assert_array_equal(code[:, :used], positions.sincos(where, used))
  assert (code[:, used:] == 0).all()
  assert len(np.unique(code.round(5), axis=0)) == len(code)


def test_inverse_compiles_to_no_sort():
  text = jax.jit(gather.inverse).lower(jnp.zeros((2, 8), jnp.int32)).compile().as_text()
  assert "sort(" not in text
  assert "scatter" in text
