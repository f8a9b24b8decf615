"""Masks made of any index sets: padding in them is replaced and counts for nothing."""

import jax.numpy as jnp
import numpy as np

from mim_jax import core, masks, rooms


def tokens_of(*real):
  valid = jnp.asarray(real, bool)
  where = jnp.zeros((*valid.shape, 1))
  return core.Tokens(where, where, valid)


def test_padding_in_a_set_gives_way_to_a_real_token_of_it():
  tokens = tokens_of([1, 0, 1, 1, 0, 1], [0] * 6)
  visible = jnp.tile(jnp.asarray([[1, 0, 3]]), (2, 1))
  masked = jnp.tile(jnp.asarray([[[2, 4], [4, 4], [4, 5]]]), (2, 1, 1))
  weight = jnp.tile(jnp.asarray([[[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]]), (2, 1, 1))
  mask = core.make_mask(tokens, visible, masked, weight)
  assert mask.visible[0].tolist() == [0, 0, 3]
  assert mask.valid.tolist() == [[False, True, True], [False] * 3]
  # A group of padding alone repeats what is seen; weights of real entries stay.
  assert mask.masked[0].tolist() == [[2, 2], [0, 0], [5, 5]]
  assert mask.weight.tolist() == [[[1, 0], [0, 0], [0, 0]], [[0, 0]] * 3]
  assert mask.present is tokens.valid


def test_entries_that_only_fill_up_stay_so_and_nothing_may_be_asked_for():
  tokens = tokens_of([1, 1, 0, 1])
  every = jnp.arange(4)[None]
  listed = jnp.asarray([[True, False, True, True]])
  mask = core.make_mask(tokens, every, every[:, :0], valid=listed)
  np.testing.assert_array_equal(mask.visible, [[0, 1, 0, 3]])
  np.testing.assert_array_equal(mask.valid, [[True, False, False, True]])
  assert mask.masked.shape == (1, 1, 0)


def test_older_names_of_masks_are_found():
  older = dict(
    attended=("guided", masks.attention_sampled),
    block_wise=("blocks", masks.block_wise),
    blocks_by_chance=("chance", masks.block_wise_by_chance),
    coarse=("units", masks.random_blocks),
    context_and_targets=("rectangles", masks.multi_block),
    dirichlet=("budget", masks.dirichlet),
    few=("sparse", masks.random_keep_few),
    inverse_block=("inverse", masks.inverse_block),
  )
  for name, (file, mask) in older.items():
    assert rooms.current(f"mim_jax.masks.{file}.{name}") == rooms.public_name(mask)
