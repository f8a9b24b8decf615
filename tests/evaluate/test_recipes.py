"""Rates by depth and schedules; LARS and whole steps are in tests/parity/test_labels_golden.py."""

import numpy as np
import pytest

from mim_jax import errors
from mim_jax.evaluate.trained import recipes


def vit(depth):
  names = ["tokenizer/embed/kernel", "encoder/class_token", "encoder/norm/scale"]
  names += [f"encoder/stack/block_{i:02d}/mlp/up/kernel" for i in range(depth)]
  return dict.fromkeys([*names, "head/classifier/kernel"], np.zeros((2, 2)))


def test_rates_fall_with_the_distance_from_the_head():
  found = recipes.rates(vit(12), 0.65)
  assert found["tokenizer/embed/kernel"] == pytest.approx(0.65**13)
  assert found["encoder/class_token"] == pytest.approx(0.65**13)
  for i in range(12):
    name = f"encoder/stack/block_{i:02d}/mlp/up/kernel"
    assert found[name] == pytest.approx(0.65 ** (12 - i))
  assert found["encoder/norm/scale"] == found["head/classifier/kernel"] == 1.0


def test_a_scanned_stack_has_the_same_rates():
  scanned = {"encoder/stack/blocks/mlp/up/kernel": np.zeros((3, 5, 7)), "head/x/kernel": None}
  found = recipes.rates(scanned, 0.5)["encoder/stack/blocks/mlp/up/kernel"]
  np.testing.assert_allclose(found, np.array([0.125, 0.25, 0.5]).reshape(3, 1, 1))


def test_only_the_last_blocks_learn():
  found = recipes.rates(vit(4), 1.0, blocks=2)
  learns = [name for name, rate in found.items() if rate]
  assert [name[20:22] for name in learns if "block_" in name] == ["02", "03"]
  assert "encoder/norm/scale" in learns
  assert not found["tokenizer/embed/kernel"]
  head = [n for n, r in recipes.rates(vit(4), blocks=0).items() if r]
  assert head == ["encoder/norm/scale", "head/classifier/kernel"]
  with pytest.raises(errors.InputError, match="blocks: 5, but this encoder has 0 to 4"):
    recipes.rates(vit(4), blocks=5)


def test_stages_count_through():
  names = ["encoder/stem/kernel", "encoder/stage_0_block_00/a/kernel"]
  names += ["encoder/stage_1_merge/kernel", "encoder/stage_1_block_00/a/kernel"]
  found = recipes.rates(dict.fromkeys(names, np.zeros(1)), 0.5)
  assert [float(found[name]) for name in names] == [0.125, 0.25, 0.5, 0.5]


def test_the_rate_rises_and_falls():
  rate = recipes.schedule(2.0, 100, 10, end=0.5)
  assert [float(rate(i)) for i in (0, 5, 10, 100)] == pytest.approx([0, 1, 2, 0.5])
