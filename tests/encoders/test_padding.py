"""Padding is a law: what it holds, where it lies and how much of it there is changes nothing real.

An encoder is held to it by being exported. It needs a line in CASES.
"""

import dataclasses
import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax import core, encoders, heads, layers, masks
from mim_jax.errors import InputError
from mim_jax.evaluate import network
from mim_jax.ops import positions

B, D = 3, 12
STACK = layers.Stack(depth=2, heads=2)
TURNED = layers.RopeStack(depth=2, heads=1)
REPLACED = dict(stack=STACK, masking=layers.Replace())


@dataclasses.dataclass(frozen=True)
class Case:
  """An encoder, the grid it is tried on, and a larger one that holds the same tokens (or None)."""

  encoder: nn.Module
  grid: tuple[int, ...] = (4, 4)
  larger: tuple[int, ...] | None = (6, 8)


CASES = dict(
  ViT=[
    Case(encoders.ViT(STACK, class_tokens=1, registers=2, record=("attention",))),
    Case(encoders.ViT(STACK, class_tokens=0), (10,), (14,)),
    Case(encoders.ViT(STACK), (2, 2, 3), (4, 2, 5)),
    Case(encoders.ViT(STACK, positions=layers.NoPositions(), pre_norm=True)),
    Case(encoders.ViT(**REPLACED)),
    # Tables are as large as the grid.
    Case(encoders.ViT(**REPLACED, positions=layers.Learned()), (10,), None),
    Case(encoders.ViT(**REPLACED, relative=layers.RelativeTable(each=True)), larger=None),
  ],
  RopeViT=[
    Case(encoders.RopeViT(TURNED, registers=4)),
    Case(encoders.RopeViT(layers.RopeStack(2, 1, layout="coupled"), registers=0)),
    Case(encoders.RopeViT(TURNED, registers=3), (10,), (14,)),
    Case(encoders.RopeViT(TURNED, registers=0), (2, 2, 3), (4, 2, 5)),
  ],
  Swin=[
    Case(encoders.Swin((2, 1), (1, 2), window=2), (8, 8), (12, 12)),
    Case(encoders.Swin((2, 1), (1, 2), window=3), (4, 4), None),
  ],
  ResNet=[Case(encoders.ResNet((1, 1), width=2, patch=2, zero_scale=False), larger=(6, 5))],
  ConvNeXt=[Case(encoders.ConvNeXt((1, 1), (4, 6), patch=2, layer_scale=0.5), larger=(6, 5))],
)
PUBLIC = sorted(name for name, thing in vars(encoders).items() if inspect.isclass(thing))
PAIRS = [(name, i) for name in CASES for i in range(len(CASES[name]))]
every_case = pytest.mark.parametrize(("name", "number"), PAIRS)
few = settings(max_examples=5, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def world(seed, grid, valid=None):
  n = int(np.prod(grid))
  where = jnp.broadcast_to(positions.grid_positions(grid), (B, n, len(grid)))
  values = np.random.default_rng(seed).normal(size=(B, n, D))
  return core.Tokens(jnp.asarray(values, jnp.float32), where, valid, grid)


def real_ones(seed, n):
  """Which tokens are real: of the first sample all, of the second half or so, of the third few."""
  share = np.asarray([[1.0], [0.5], [0.1]])
  return jnp.asarray(np.random.default_rng(seed).uniform(size=(B, n)) < share)


@functools.cache
def started(name, number):
  """Variables far from where training starts: biases of 0 and scales of 1 would hide mistakes."""
  case, rng = CASES[name][number], np.random.default_rng(0)
  tokens = world(0, case.grid)
  mask = masks.random(jax.random.key(0), tokens, ratio=0.5)
  shapes = jax.eval_shape(case.encoder.init, jax.random.key(0), tokens, mask)
  return jax.tree.map(lambda x: rng.uniform(-0.4, 0.6, x.shape).astype(x.dtype), shapes)


@functools.cache
def compiled(name, number, training=True):
  """(Latents of the first and the last layer, changed statistics) of variables, tokens, mask."""
  encoder = CASES[name][number].encoder

  def run(variables, tokens, mask):
    mutable = ["batch_stats"] if training else []
    return encoder.apply(variables, tokens, mask, layers=(1, -1), mutable=mutable)

  return jax.jit(run)


def features(latents):
  pools = ["mean", "both"] if latents.prefix.shape[1] else ["mean"]
  head = [heads.Classifier(0, "mean").apply({}, latents)]
  return head + [network.pooled(latents, pool) for pool in pools]


def same(found, expected, atol=1e-5):
  """Real latents in their order, the prefix, attention to what is real, pooled features."""
  for x, y in zip(found, expected, strict=True):
    real, other = np.asarray(x.valid), np.asarray(y.valid)
    for row in range(B):
      pair = x.values[row][real[row]], y.values[row][other[row]]
      np.testing.assert_allclose(*pair, atol=atol, rtol=1e-4)
    np.testing.assert_allclose(x.prefix, y.prefix, atol=atol, rtol=1e-4)
    for pair in zip(features(x), features(y), strict=True):
      np.testing.assert_allclose(*pair, atol=atol, rtol=1e-4)
      assert np.isfinite(pair[0]).all()


def drawn(seed, tokens, masked):
  return masks.random(jax.random.key(seed), tokens, ratio=0.5) if masked else None


def test_every_encoder_is_held_to_the_law():
  assert set(PUBLIC) == set(CASES)


@every_case
@pytest.mark.parametrize("masked", [False, True])
@few
@given(seeds)
def test_what_padding_holds_and_where_it_is_said_to_lie_changes_nothing(name, number, masked, seed):
  grid = CASES[name][number].grid
  valid = real_ones(seed, int(np.prod(grid)))
  tokens, other = world(seed, grid, valid), world(seed + 1, grid)
  mask, run = drawn(seed, tokens, masked), functools.partial(compiled(name, number))
  expected, statistics = run(started(name, number), tokens, mask)
  for factor in (3.0, -1e4):
    garbage = dataclasses.replace(
      tokens,
      values=jnp.where(valid[..., None], tokens.values, factor * other.values),
      positions=jnp.where(valid[..., None], tokens.positions, factor),
    )
    if mask is not None:
      mask = dataclasses.replace(mask, positions=garbage.positions)
    found, moved = run(started(name, number), garbage, mask)
    for x, y in zip(found, expected, strict=True):
      np.testing.assert_array_equal(x.valid, y.valid)
    same(found, expected)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), moved, statistics)


@pytest.mark.parametrize(
  ("name", "number"), [(a, i) for a, i in PAIRS if CASES[a][i].larger is not None]
)
@pytest.mark.parametrize("masked", [False, True])
def test_how_much_padding_there_is_changes_nothing(name, number, masked):
  """The same tokens in the corner of a larger grid."""
  case = CASES[name][number]
  n, total = int(np.prod(case.grid)), int(np.prod(case.larger))
  corner = np.ravel_multi_index(np.indices(case.grid).reshape(len(case.grid), -1), case.larger)
  tokens = world(3, case.grid, jnp.ones((B, n), bool))
  valid = jnp.zeros((B, total), bool).at[:, corner].set(True)
  wide = world(4, case.larger, valid)
  wide = dataclasses.replace(wide, values=wide.values.at[:, corner].set(tokens.values))
  mask = more = drawn(0, tokens, masked)
  if mask is not None:
    listed = lambda index: jnp.pad(jnp.asarray(corner)[index], ((0, 0), (0, 3)), mode="edge")
    real = jnp.pad(mask.valid, ((0, 0), (0, 3)))
    more = core.make_mask(wide, listed(mask.visible), listed(mask.masked[:, 0]), valid=real)
  run, variables = compiled(name, number), started(name, number)
  expected, statistics = run(variables, tokens, mask)
  found, moved = run(variables, wide, more)
  same(found, expected)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), moved, statistics)


@every_case
@pytest.mark.parametrize("masked", [False, True])
def test_all_real_is_as_no_padding(name, number, masked):
  grid = CASES[name][number].grid
  plain = world(5, grid)
  every = dataclasses.replace(plain, valid=jnp.ones(plain.values.shape[:2], bool))
  mask = drawn(0, plain, masked)
  full = (
    None if mask is None else dataclasses.replace(mask, valid=jnp.ones(mask.visible.shape, bool))
  )
  run, variables = compiled(name, number), started(name, number)
  whole = [
    dataclasses.replace(x, valid=jnp.ones(x.values.shape[:2], bool)) if x.valid is None else x
    for x in run(variables, plain, mask)[0]
  ]
  found = run(variables, every, full)[0]
  assert all(x.valid is not None for x in found)
  same(found, whole)


def test_registers_stand_on_a_line_or_around_a_rectangle():
  solid = world(0, (2, 2, 3))
  with pytest.raises(InputError, match=r"not among 3 coordinates.*registers=0"):
    encoders.RopeViT(TURNED, registers=4).init(jax.random.key(0), solid)


def test_rotary_positions_on_a_line_depend_on_differences_alone():
  encoder = encoders.RopeViT(TURNED, registers=0)
  tokens = world(0, (8,))
  params = encoder.init(jax.random.key(0), tokens)
  moved = dataclasses.replace(tokens, positions=tokens.positions + 5.0)
  spread = dataclasses.replace(tokens, positions=tokens.positions * 2.0)
  plain, far, wide = (encoder.apply(params, x).values for x in (tokens, moved, spread))
  np.testing.assert_allclose(plain, far, atol=1e-5)
  assert np.abs(plain - wide).max() > 1e-3
