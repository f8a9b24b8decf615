"""Tables of relative positions on other grids, as timm's functions and SciPy gave them."""

import pathlib

import numpy as np
import pytest

from mim_jax.ops import relative_positions

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "relative_tables.npz")
# key: seed and number of heads of the table, rows of a prefix, spacing
CASES = {
  "beit/4 4 6 6": (20, 2, 3, "geometric"),
  "beit/6 6 4 4": (21, 2, 3, "geometric"),
  "beit/3 5 5 8": (22, 2, 3, "geometric"),
  "beit/14 14 24 24": (23, 1, 3, "geometric"),
  "swin/6 6 7 7": (30, 3, 0, "even"),
  "swin/7 7 4 4": (31, 3, 0, "even"),
}


@pytest.mark.parametrize("case", CASES)
def test_tables_of_other_grids_are_those_of_the_reference(case):
  seed, heads, prefix, spacing = CASES[case]
  h, w, *new = map(int, case.split("/")[1].split())
  rows = relative_positions.table_rows((h, w), prefix)
  table = np.random.default_rng(seed).normal(size=(rows, heads)).astype(np.float32)
  found = relative_positions.resized(table, (h, w), tuple(new), spacing=spacing)
  expected = GOLDEN[case]
  assert found.shape == expected.shape
  assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
