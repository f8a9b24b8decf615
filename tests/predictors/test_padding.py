"""Padding is a law: what it holds, where it lies and how much of it there is changes no prediction.

A predictor is held to it by being exported; those of one method have a line too. It needs a line in
CASES.
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

from mim_jax import core, layers, masks, predictors
from mim_jax.methods import codebook, hpm, localmim, multimae
from mim_jax.ops import grids, positions

B, D, E = 3, 12, 3
STACK = layers.Stack(depth=2, heads=2)


class Ranking(hpm.LossPredictingDecoder):
  """Both of what HPM's predictor predicts, beside each other."""

  def __call__(self, latents, mask, context=None):
    predictions = super().__call__(latents, mask, context)
    return jnp.concatenate([predictions, self.losses(latents, mask)[1][..., None]], -1)


class Whole(nn.Module):
  """A decoder of codes of all tokens, at the masked ones."""

  decoder: nn.Module

  def __call__(self, latents, mask, context=None):
    tokens = core.Tokens(latents.values, mask.positions, mask.present, mask.grid)
    return core.take(self.decoder(tokens), mask.masked)


class Scales(nn.Module):
  """A decoder of several layers, at the masked tokens where cells are tokens."""

  decoder: nn.Module

  def __call__(self, latents, mask, context=None):
    low, high = self.decoder([latents, latents], mask)  # [b 1 n e], [b 1 n/4 e]
    share = localmim.hidden_share(mask, high.shape[2])  # 0 in cells that are not all real
    coarse = jnp.where(share[..., None] > 0, high[:, 0], 0.0)
    coarse = grids.rescale(coarse, tuple(side // 2 for side in mask.grid), 2)
    found = jnp.concatenate([low[:, 0], coarse], -1)
    return core.take(found, mask.masked)


@dataclasses.dataclass(frozen=True)
class Case:
  """A predictor, the grid it is tried on, and a larger one that holds the same tokens.

  keeps: it reads latents of all tokens. attends: what it predicts depends on what else is asked.
  """

  predictor: nn.Module
  grid: tuple[int, ...] = (4, 4)
  larger: tuple[int, ...] = (6, 8)
  keeps: bool = False
  attends: bool = True


CASES = dict(
  Transformer=[
    Case(predictors.Transformer(D, E, STACK)),
    Case(predictors.Transformer(D, E, STACK, layers.SinCos(), bias=False), (10,), (14,)),
  ],
  CrossTransformer=[Case(predictors.CrossTransformer(D, 2, 2, E, hidden=16))],
  CrossAttentionDecoder=[
    Case(predictors.CrossAttentionDecoder(layers.RopeStack(2, 1)), attends=False),
    Case(predictors.CrossAttentionDecoder(layers.RopeStack(1, 1)), (10,), (14,), attends=False),
  ],
  Linear=[Case(predictors.Linear(E), keeps=True, attends=False)],
  UNet=[
    Case(predictors.UNet(8, 2, 1, norm), larger=(6, 5), attends=False)
    for norm in ("batch", "layer")
  ],
  hpm=[Case(Ranking(D, E, STACK))],
  codebook=[Case(Whole(codebook.Decoder(D, E, STACK)), keeps=True, attends=False)],
  localmim=[
    Case(Scales(localmim.MultiScale(D, (1, 0.5), (E, E), STACK)), attends=False),
  ],
  multimae=[Case(multimae.MultimodalDecoder(D, E, STACK), (2, 2, 4), (2, 3, 5))],
)
PUBLIC = sorted(name for name, thing in vars(predictors).items() if inspect.isclass(thing))
PAIRS = [(name, i) for name in CASES for i in range(len(CASES[name]))]
every_case = pytest.mark.parametrize(("name", "number"), PAIRS)
few = settings(max_examples=4, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def mask_of(seed, case, valid=None):
  n = int(np.prod(case.grid))
  where = jnp.broadcast_to(positions.grid_positions(case.grid), (B, n, len(case.grid)))
  tokens = core.Tokens(jnp.zeros((B, n, 1)), where, valid, case.grid)
  if isinstance(case.predictor, multimae.MultimodalDecoder):
    drawn = masks.dirichlet(jax.random.key(seed), tokens, visible=6, concentration=(1.0, 1.0))
    # Of one modality, as a task asks.
    return multimae.group(drawn, 1)
  return masks.random(jax.random.key(seed), tokens, ratio=0.5)


def latents_of(seed, case, mask):
  """What an encoder could have made: latents, and the other view for those that ask it."""
  n, v = mask.positions.shape[1], mask.visible.shape[1]
  prefix, context = (
    normal(seed + 1, B, 4, D),
    core.Latents(normal(seed, B, 5, D), normal(9, B, 1, D)),
  )
  if case.keeps:
    return core.Latents(normal(seed, B, n, D), prefix, mask.present), context
  if isinstance(case.predictor, predictors.UNet):
    h, w = case.grid
    maps = normal(seed, B, 2 * h, 2 * w, 4), normal(seed + 2, B, h, w, 8)
    return core.Pyramid(normal(seed, B, v, 8), prefix[:, :0], mask.valid, maps=maps), context
  return core.Latents(normal(seed, B, v, D), prefix, mask.valid), context


@functools.cache
def started(name, number):
  case, rng = CASES[name][number], np.random.default_rng(0)
  mask = mask_of(0, case)
  shapes = jax.eval_shape(
    case.predictor.init, jax.random.key(0), *_arguments(*latents_of(0, case, mask), mask)
  )
  return jax.tree.map(lambda x: rng.uniform(-0.4, 0.6, x.shape).astype(x.dtype), shapes)


def _arguments(latents, context, mask):
  return latents, mask, context


@functools.cache
def compiled(name, number):
  def run(variables, latents, context, mask):
    arguments = _arguments(latents, context, mask)
    found = CASES[name][number].predictor.apply(variables, *arguments, mutable=["batch_stats"])
    return found[0]

  return jax.jit(run)


def predict(name, number, latents, context, mask):
  return np.asarray(compiled(name, number)(started(name, number), latents, context, mask))


def same(found, expected, weight, other=None):
  asked = np.asarray(weight) > 0
  other = asked if other is None else np.asarray(other) > 0
  np.testing.assert_allclose(found[asked], expected[other], atol=2e-5, rtol=1e-4)
  assert asked.any()


def real_ones(seed, n):
  share = np.asarray([[1.0], [0.6], [0.3]])
  return jnp.asarray(np.random.default_rng(seed).uniform(size=(B, n)) < share)


def garbled(latents, mask, factor):
  """Other latents, positions and places where there is nothing real."""
  present = mask.present
  real = latents.valid
  values = jnp.where(real[..., None], latents.values, factor)
  first = lambda kept, index: jnp.where(kept, index, jnp.max(index, -1, keepdims=True))
  mask = dataclasses.replace(
    mask,
    positions=jnp.where(present[..., None], mask.positions, factor),
    visible=first(mask.valid, mask.visible),
  )
  if not isinstance(latents, core.Pyramid):
    latents = dataclasses.replace(latents, values=values)
  return latents, mask


def test_every_predictor_is_held_to_the_law():
  assert set(PUBLIC) <= set(CASES)


@every_case
@few
@given(seeds)
def test_what_padding_holds_and_where_it_is_said_to_lie_changes_nothing(name, number, seed):
  case = CASES[name][number]
  mask = mask_of(seed, case, real_ones(seed, int(np.prod(case.grid))))
  latents, context = latents_of(seed, case, mask)
  told = jnp.arange(5)[None] < jnp.asarray([[5], [3], [1]])
  context = dataclasses.replace(context, valid=told)
  expected = predict(name, number, latents, context, mask)
  for factor in (3.0, -1e4):
    other, moved = garbled(latents, mask, factor)
    view = dataclasses.replace(context, values=jnp.where(told[..., None], context.values, factor))
    same(predict(name, number, other, view, moved), expected, mask.weight)


@every_case
def test_how_much_padding_there_is_changes_nothing(name, number):
  """The same tokens in the corner of a larger grid, and longer lists."""
  case = CASES[name][number]
  n, total = int(np.prod(case.grid)), int(np.prod(case.larger))
  corner = np.ravel_multi_index(np.indices(case.grid).reshape(len(case.grid), -1), case.larger)
  mask = mask_of(3, case, jnp.ones((B, n), bool))
  latents, context = latents_of(3, case, mask)
  edge = dict(mode="edge")
  longer = lambda x: jnp.pad(jnp.asarray(corner)[x], ((0, 0),) * (x.ndim - 1) + ((0, 3),), **edge)
  where = jnp.broadcast_to(positions.grid_positions(case.larger), (B, total, len(case.grid)))
  wide = core.Mask(
    longer(mask.visible),
    longer(mask.masked),
    jnp.pad(mask.weight, ((0, 0), (0, 0), (0, 3))),
    where,
    jnp.pad(mask.valid, ((0, 0), (0, 3))),
    jnp.zeros((B, total), bool).at[:, corner].set(True),
    case.larger,
  )
  if name == "multimae":  # all places of the modality
    places = jnp.broadcast_to(total // 2 + jnp.arange(total // 2), (B, 1, total // 2))
    inside = corner[n // 2 :] - total // 2
    weight = jnp.zeros(places.shape).at[:, :, inside].set(mask.weight)
    tokens = core.Tokens(where, where, wide.present, case.larger)
    wide = core.make_mask(tokens, wide.visible, places, weight, wide.valid)
  if isinstance(latents, core.Pyramid):
    more = [(b - a) for a, b in zip(case.grid, case.larger, strict=True)]
    maps = tuple(
      jnp.pad(x, ((0, 0), *((0, s * (x.shape[1] // case.grid[0])) for s in more), (0, 0)))
      for x in latents.maps
    )
    other = dataclasses.replace(latents, maps=maps)
  elif case.keeps:
    values = jnp.full((B, total, D), 7.0).at[:, corner].set(latents.values)
    other = core.Latents(values, latents.prefix, wide.present)
  else:
    values = jnp.pad(latents.values, ((0, 0), (0, 3), (0, 0)), constant_values=7.0)
    other = core.Latents(values, latents.prefix, wide.valid)
  expected = predict(name, number, latents, context, mask)
  found = predict(name, number, other, context, wide)
  same(found, expected, wide.weight, mask.weight)


@every_case
def test_what_is_not_asked_for_is_not_attended_to(name, number):
  """Also where nothing says which of the visible tokens are real."""
  case = CASES[name][number]
  mask = mask_of(4, case)
  if name == "multimae":
    pytest.skip("asks all places of a modality, the visible ones too")
  latents, context = latents_of(4, case, mask)
  m = mask.masked.shape[2]
  weight = jnp.broadcast_to((jnp.arange(m) < m - 2).astype(jnp.float32), mask.weight.shape)
  given = dataclasses.replace(mask, weight=weight, all_asked=False)
  away = jnp.where(weight > 0, mask.masked, mask.masked[..., :1])
  moved = dataclasses.replace(given, masked=away)
  expected = predict(name, number, latents, context, given)
  same(predict(name, number, latents, context, moved), expected, weight)
  short = dataclasses.replace(mask, masked=mask.masked[..., :-2], weight=mask.weight[..., :-2])
  found = predict(name, number, latents, context, short)
  same(expected, found, weight, short.weight)


@every_case
def test_where_all_is_asked_for_the_program_never_looks_at_weights(name, number):
  case = CASES[name][number]
  mask = mask_of(5, case)
  latents, context = latents_of(5, case, mask)
  assert mask.all_asked == (name != "multimae")
  found = predict(name, number, latents, context, dataclasses.replace(mask, all_asked=False))
  expected = predict(name, number, latents, context, mask)
  np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-4)
  if name != "multimae":
    none = dataclasses.replace(mask, weight=jnp.full_like(mask.weight, jnp.nan))
    np.testing.assert_array_equal(predict(name, number, latents, context, none), expected)


def test_a_context_serves_all_copies_of_a_mask():
  case = CASES["CrossTransformer"][0]
  mask = mask_of(6, case)
  latents, context = latents_of(6, case, mask)
  twice = dataclasses.replace(core.repeated(mask, 2), copies=2)
  seen = core.repeated(latents, 2)
  found = predict("CrossTransformer", 0, seen, context, twice)
  expected = predict("CrossTransformer", 0, latents, context, mask)
  np.testing.assert_allclose(found, np.repeat(expected, 2, 0), atol=1e-5)
