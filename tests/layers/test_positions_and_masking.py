"""Positions and ways of hiding, which encoders and predictors share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, encoders, layers, masks, predictors
from mim_jax.config import part
from mim_jax.errors import InputError
from mim_jax.methods import hpm
from mim_jax.ops import positions

GRID, WIDTH = (4, 4), 8
STACK = layers.Stack(depth=1, heads=2)


def world():
  """Tokens, a mask of half of them, and what an encoder could have made of the visible ones."""
  where = jnp.broadcast_to(positions.grid_positions(GRID), (2, 16, 2))
  tokens = core.Tokens(jax.random.normal(jax.random.key(0), (2, 16, WIDTH)), where, grid=GRID)
  mask = masks.random(jax.random.key(1), tokens, ratio=0.5)
  return tokens, mask, core.Latents(core.take(tokens.values, mask.visible), tokens.values[:, :1])


@pytest.mark.parametrize(
  ("placed", "names"),
  [
    (layers.SinCos(), set()),
    (layers.NoPositions(), set()),
    (layers.Learned(), {"positions_table"}),
    (layers.Learned(grid=(2, 3)), {"positions_table"}),
  ],
)
def test_a_predictor_takes_the_positions_that_an_encoder_takes(placed, names):
  tokens, mask, latents = world()
  encoder = encoders.ViT(stack=STACK, positions=placed)
  predictor = predictors.Transformer(WIDTH, 3, STACK, placed)
  drawn = predictor.init(jax.random.key(2), latents, mask)
  assert drawn["params"].keys() == {"embed", "mask_token", "stack", "norm", "head"} | names
  found = predictor.apply(drawn, latents, mask)
  assert found.shape == (2, 1, 8, 3)
  # All mask tokens are alike: positions alone tell their predictions apart.
  same = np.allclose(found[:, :, 0], found[:, :, 1], atol=1e-5)
  assert same == isinstance(placed, layers.NoPositions)
  own = encoder.init(jax.random.key(3), tokens, mask)["params"]
  classes = {"class_positions"} if names else set()
  assert own.keys() == {"class_token", "stack", "norm"} | names | classes


def test_learned_positions_of_a_line_are_resized():
  table = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 4)), jnp.float32)
  code = lambda learned, grid: learned.code(
    lambda *_: table, jnp.zeros((1, int(np.prod(grid)), len(grid))), grid, 4
  )
  np.testing.assert_array_equal(code(layers.Learned(grid=(6,)), (6,)), table)
  for antialias in (False, True):
    line = layers.Learned(grid=(6,), antialias=antialias)
    column = layers.Learned(grid=(6, 1), antialias=antialias)
    np.testing.assert_allclose(code(line, (9,)), code(column, (9, 1)), atol=1e-6)
    assert code(line, (9,)).shape == (1, 9, 4)
  for own, other in (((6,), (2, 3)), ((2, 3), (6,)), ((1, 2, 3), (2, 2, 3))):
    with pytest.raises(InputError, match=r"learned positions: .* can't be resized"):
      code(layers.Learned(grid=own), other)


def test_a_predictor_with_fixed_positions_only_says_so():
  _, mask, latents = world()
  model = hpm.LossPredictingDecoder(WIDTH, 3, STACK, layers.Learned())
  with pytest.raises(InputError, match=r"predictor.positions: .* fixed ones only"):
    model.init(jax.random.key(0), latents, mask)


def test_the_stand_in_starts_as_it_is_told():
  tokens, mask, _ = world()
  for init, std in (("zeros", 0.0), ("trunc_normal", 0.0108), (None, 0.02)):
    wide = core.Tokens(jnp.zeros((2, 16, 512)), tokens.positions, grid=GRID)
    model = encoders.ViT(stack=STACK, masking=layers.Replace(init=init), class_tokens=0)
    drawn = model.init(jax.random.key(0), wide, mask)["params"]["mask_token"]
    np.testing.assert_allclose(np.std(drawn), std, rtol=0.15)


def test_parts_in_parts_are_nodes_with_all_their_settings():
  node = part(encoders.ViT, stack=part(layers.Stack, depth=1, heads=2), masking=layers.Replace())
  assert node.positions == part(layers.SinCos)
  assert node.masking == part(layers.Replace) and node.masking.init is None
  again = config_lib.from_json(config_lib.to_json(node))
  assert config_lib.build(again) == config_lib.build(node)
  assert config_lib.build(node) == encoders.ViT(stack=STACK, masking=layers.Replace())
  with pytest.raises(InputError, match="did you mean 'depth'"):
    part(layers.Stack, dept=1, heads=2)


def test_the_vit_has_at_most_ten_settings():
  names = set(encoders.ViT.__dataclass_fields__) - {"parent", "name"}
  assert len(names) <= 10
