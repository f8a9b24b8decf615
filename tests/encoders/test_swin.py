"""The Swin encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, masks
from mim_jax.errors import InputError
from mim_jax.ops import positions

GRID = (8, 8)


def tokens_of(seed=0, b=2, grid=GRID, d=8):
  n = grid[0] * grid[1]
  values = jax.random.normal(jax.random.key(seed), (b, n, d))
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2))
  return core.Tokens(values, where, grid=grid)


def small(**settings):
  return encoders.Swin(**(dict(depths=(2, 2), heads=(2, 4), window=4) | settings))


def hidden(tokens):
  return masks.random_blocks(jax.random.key(2), tokens, ratio=0.6, unit=2)


@pytest.fixture(scope="module")
def params():
  tokens = tokens_of()
  return jax.jit(small().init)(jax.random.key(1), tokens, hidden(tokens))


def test_latents_lie_on_the_coarse_grid(params):
  found = jax.jit(small().apply)(params, tokens_of())
  assert found.values.shape == (2, 16, 16)
  assert found.prefix.shape == (2, 0, 16)


def test_masked_tokens_cannot_be_seen(params):
  tokens = tokens_of()
  mask = hidden(tokens)
  rows = jnp.arange(2)[:, None]
  noise = core.take(tokens_of(5).values, mask.masked[:, 0])
  other = core.Tokens(
    tokens.values.at[rows, mask.masked[:, 0]].set(noise), tokens.positions, grid=GRID
  )
  run = jax.jit(small().apply)
  first, second = (run(params, t, mask).values for t in (tokens, other))
  np.testing.assert_array_equal(first, second)
  assert not np.allclose(first, run(params, other).values)


def test_layers_are_the_outputs_on_the_way(params):
  run = jax.jit(lambda p, t: small().apply(p, t, layers=(1, 2, 3, -1)))
  found = run(params, tokens_of())
  assert [latents.values.shape for latents in found] == [(2, 64, 8)] * 2 + [(2, 16, 16)] * 2
  last = jax.jit(small().apply)(params, tokens_of()).values
  np.testing.assert_allclose(found[-1].values, last, atol=1e-5)
  with pytest.raises(InputError, match=r"layer 5 does not exist: allowed are 1\.\.4"):
    small().apply(params, tokens_of(), layers=(5,))


def test_remat_changes_no_number():
  tokens = tokens_of(grid=(4, 4))
  shape = dict(depths=(1, 1), window=2)
  params = jax.jit(small(**shape).init)(jax.random.key(1), tokens, hidden(tokens))

  def gradient(model):
    loss = lambda p: jnp.sum(jnp.square(model.apply(p, tokens, hidden(tokens)).values))
    return jax.jit(jax.grad(loss))(params)

  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
  jax.tree.map(close, gradient(small(**shape)), gradient(small(**shape, remat="full")))


@jax.numpy_dtype_promotion("standard")  # Flax's own norms mix bfloat16 and float32
def test_bfloat16_keeps_float32_parameters(params):
  tokens = tokens_of()
  half = core.Tokens(tokens.values.astype(jnp.bfloat16), tokens.positions, grid=GRID)
  model = small(dtype="bfloat16")
  drawn = jax.jit(model.init)(jax.random.key(1), half)
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(drawn)} == {"float32"}
  found = jax.jit(model.apply)(params, half).values
  assert found.dtype == jnp.bfloat16
  exact = jax.jit(small().apply)(params, tokens).values
  np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.15)


def test_a_grid_that_windows_do_not_divide_is_padded():
  """A window over the whole image and one that has to be padded differ in what is seen, not in kind."""
  run = jax.jit(small(window=5, depths=(2, 1)).init_with_output)
  found = run(jax.random.key(0), tokens_of(grid=(6, 8)))[0]
  assert found.values.shape == (2, 12, 16)
  assert np.isfinite(found.values).all()


def test_initial_distributions_are_the_published_ones():
  tokens = tokens_of(d=64)
  model = small(heads=(4, 8), depths=(1, 1))
  drawn = jax.jit(model.init)(jax.random.key(0), tokens, hidden(tokens))["params"]
  one = drawn["stage_0_block_00"]
  for values in (
    one["attention"]["qkv"]["kernel"],
    one["mlp"]["down"]["kernel"],
    drawn["merge_1"]["reduce"]["kernel"],
    one["relative_table"],
    drawn["mask_token"],
  ):
    np.testing.assert_allclose(np.std(values), 0.02, rtol=0.25)
  np.testing.assert_array_equal(one["attention"]["qkv"]["bias"], 0)


def test_what_cannot_be_is_refused():
  with pytest.raises(InputError, match=r"depths \(2, 2\) and heads \(2,\) must have one number"):
    small(heads=(2,)).init(jax.random.key(0), tokens_of())
  with pytest.raises(InputError, match="grid of 7 x 8 can't be halved"):
    small().init(jax.random.key(0), tokens_of(grid=(7, 8)))
  loose = core.Tokens(jnp.zeros((1, 4, 8)), jnp.zeros((1, 4, 2)))
  with pytest.raises(InputError, match=r"must lie on a 2-D grid, not on \(\)"):
    small().init(jax.random.key(0), loose)
  with pytest.raises(InputError, match="'dot' is unknown; did you mean 'dots'"):
    small(remat="dot").init(jax.random.key(0), tokens_of())
