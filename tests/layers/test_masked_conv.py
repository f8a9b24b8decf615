"""Layers on images with hidden cells, against what they say of the visible sites alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks
from mim_jax.errors import InputError
from mim_jax.layers import masked_conv
from mim_jax.ops import positions
from mim_jax.tokenizers import Cells

SEEN = jnp.asarray([[[True, False], [False, True]], [[False, False], [True, False]]])


def normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def visible_sites(x, seen=SEEN):
  """[sites c] of the visible sites of all images together, by plain loops."""
  size = x.shape[1] // seen.shape[1]
  cells = [
    x[b, i * size : (i + 1) * size, j * size : (j + 1) * size].reshape(-1, x.shape[-1])
    for b, i, j in np.argwhere(np.asarray(seen))
  ]
  return np.concatenate([np.asarray(c, np.float64) for c in cells])


def test_hide_zeroes_the_cells_that_are_not_seen_at_every_resolution():
  for size in (1, 2, 3):
    x = 1.0 + jnp.square(normal(0, 2, 2 * size, 2 * size, 3))
    shown = masked_conv.hide(x, SEEN)
    assert int((shown != 0).sum()) == 3 * size**2 * 3
    np.testing.assert_array_equal(
      np.sort(visible_sites(shown), None), np.sort(visible_sites(x), None)
    )
  np.testing.assert_array_equal(masked_conv.hide(x, None), x)


def test_cells_that_are_no_whole_number_of_sites_are_refused():
  with pytest.raises(InputError, match="3 x 3 sites does not fit 2 x 2 mask cells"):
    masked_conv.hide(jnp.zeros((2, 3, 3, 1)), SEEN)


class TestBatchNorm:
  norm = masked_conv.BatchNorm()
  x = 3.0 + 2.0 * normal(1, 2, 4, 4, 5)

  def variables(self, scale=2.0, bias=0.5):
    made = self.norm.init(jax.random.key(0), self.x, SEEN)
    params = {"scale": jnp.full(5, scale), "bias": jnp.full(5, bias)}
    return {"params": params, "batch_stats": made["batch_stats"]}

  def test_statistics_are_those_of_the_visible_sites_of_the_batch(self):
    y, _ = self.norm.apply(self.variables(), self.x, SEEN, mutable=["batch_stats"])
    sites = visible_sites(self.x)
    expected = 0.5 + 2.0 * (sites - sites.mean(0)) / np.sqrt(sites.var(0) + 1e-5)
    np.testing.assert_allclose(visible_sites(y), expected, rtol=1e-4, atol=1e-5)

  def test_hidden_sites_are_zero_not_the_bias(self):
    y, _ = self.norm.apply(self.variables(), self.x, SEEN, mutable=["batch_stats"])
    hidden = ~np.broadcast_to(masked_conv.at_sites(SEEN, y), y.shape)
    assert (np.asarray(y)[hidden] == 0).all()
    assert np.abs(np.asarray(y)[~hidden]).min() > 0

  def test_running_averages_move_by_a_tenth_with_the_unbiased_variance(self):
    start = self.variables()
    assert (start["batch_stats"]["mean"] == 0).all()  # making parameters is no step
    assert (start["batch_stats"]["variance"] == 1).all()
    _, changed = self.norm.apply(start, self.x, SEEN, mutable=["batch_stats"])
    sites = visible_sites(self.x)
    found = changed["batch_stats"]
    np.testing.assert_allclose(found["mean"], 0.1 * sites.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["variance"], 0.9 + 0.1 * sites.var(0, ddof=1), rtol=1e-5)

  def test_elsewhere_it_normalises_by_the_running_averages(self):
    variables = self.variables()
    variables["batch_stats"] = {"mean": jnp.full(5, 3.0), "variance": jnp.full(5, 4.0)}
    y = self.norm.apply(variables, self.x)
    np.testing.assert_allclose(y, 0.5 + 2.0 * (self.x - 3.0) / np.sqrt(4.0 + 1e-5), rtol=1e-5)

  def test_without_running_averages_it_says_what_is_missing(self):
    with pytest.raises(InputError, match="batch norm without running averages.*`stats`"):
      self.norm.apply({"params": self.variables()["params"]}, self.x)

  def test_hidden_values_change_nothing(self):
    other = jnp.where(masked_conv.at_sites(SEEN, self.x), self.x, 1e3)
    first, second = (
      self.norm.apply(self.variables(), x, SEEN, mutable=["batch_stats"]) for x in (self.x, other)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)

  def test_half_precision_in_and_out_but_not_between(self):
    half = masked_conv.BatchNorm(dtype="bfloat16")
    far = (1000.0 + self.x).astype(jnp.bfloat16)
    y, changed = half.apply(self.variables(), far, SEEN, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert {v.dtype for v in changed["batch_stats"].values()} == {jnp.dtype("float32")}
    expected = visible_sites(far).mean(0)  # in bfloat16 1003 is rounded to 1004
    np.testing.assert_allclose(changed["batch_stats"]["mean"], 0.1 * expected, rtol=1e-5)


def test_layer_norm_is_per_site_and_zero_where_hidden():
  x = normal(2, 2, 4, 4, 6)
  y, _ = masked_conv.LayerNorm().init_with_output(jax.random.key(0), x, SEEN)
  sites = visible_sites(x)
  expected = (sites - sites.mean(1, keepdims=True)) / np.sqrt(sites.var(1, keepdims=True) + 1e-6)
  np.testing.assert_allclose(visible_sites(y), expected, rtol=1e-4, atol=1e-5)
  assert int((y != 0).any(-1).sum()) == len(sites)


@pytest.mark.parametrize(("patch", "stages", "stride"), [(32, 4, 4), (2, 2, 1), (16, 4, 2)])
def test_the_stem_brings_the_stride_to_the_patch(patch, stages, stride):
  assert masked_conv.stem_stride(patch, stages) == stride


@pytest.mark.parametrize("patch", [4, 24, 64])
def test_a_patch_that_is_not_the_stride_is_refused(patch):
  with pytest.raises(InputError, match=rf"patch {patch} is not the stride.*8, 16, 32"):
    masked_conv.stem_stride(patch, 4)


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2), (2, 2), (4, 4)])
def test_convolutions_pad_alike_on_all_sides(kernel, stride):
  """Flax's own "SAME" starts a strided 3 x 3 convolution one site later than PyTorch does."""
  conv = masked_conv.conv(
    1, kernel, "float32", "conv", stride, kernel_init=jax.nn.initializers.ones
  )
  x = jnp.arange(64.0).reshape(1, 8, 8, 1)
  y, _ = conv.init_with_output(jax.random.key(0), x)
  side = (kernel - stride + 1) // 2
  padded = np.pad(np.asarray(x[0, :, :, 0]), side)
  expected = [
    [padded[i : i + kernel, j : j + kernel].sum() for j in range(0, 8, stride)]
    for i in range(0, 8, stride)
  ]
  np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-6)


def test_the_canvas_shows_visible_cells_where_they_were():
  image = normal(3, 2, 8, 8, 3)
  tokens = Cells(patch=2).apply({}, image)
  np.testing.assert_array_equal(masked_conv.canvas(tokens, None, 2)[0], image)
  mask = masks.random(jax.random.key(4), tokens, ratio=0.6, rounding="nearest")
  shown, seen = masked_conv.canvas(tokens, mask, 2)
  assert int(seen[0].sum()) == mask.visible.shape[1] == 6
  for b, n in ((b, int(n)) for b, row in enumerate(mask.visible) for n in row):
    i, j = 2 * (n // 4), 2 * (n % 4)
    np.testing.assert_array_equal(shown[b, i : i + 2, j : j + 2], image[b, i : i + 2, j : j + 2])
  assert int((shown != 0).any(-1).sum()) == 2 * 6 * 4


def test_an_entry_that_only_fills_up_is_not_visible():
  where = jnp.broadcast_to(positions.grid_positions((2, 2)), (1, 4, 2))
  mask = core.Mask(
    jnp.asarray([[1, 3]]),
    jnp.asarray([[[0, 2]]]),
    jnp.ones((1, 1, 2)),
    where,
    jnp.asarray([[True, False]]),
    grid=(2, 2),
  )
  np.testing.assert_array_equal(masked_conv.visible(mask), [[[False, True], [False, False]]])
  with pytest.raises(InputError, match="needs rows, columns"):
    masked_conv.canvas(core.Tokens(where, where, grid=(4,)), None, 2)
