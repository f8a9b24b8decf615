"""What a method costs is traced and recorded; the record and counts by hand are what XLA counts."""

import json
import pathlib
import sys

import numpy as np
import pytest

from mim_jax import catalog
from mim_jax import config as config_lib

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from experiments.flops import run

pytestmark = pytest.mark.slow


def recorded(method):
  return json.loads((run.HERE / f"{method}.json").read_text())


@pytest.mark.parametrize("method", config_lib.names())
def test_every_method_has_a_record_of_the_same_task(method):
  record = recorded(method)
  assert (record["method"], record["arg"]) == (method, catalog.task_of_all(method))
  assert record["flops"] > 1e9


@pytest.mark.parametrize("method", ["localmim", "videomae"])
def test_the_record_is_what_xla_counts(method):
  """Of two that are quickly traced; `python experiments/flops/run.py` counts all."""
  found = run.counted(run.published(method))
  assert found == pytest.approx(recorded(method)["flops"], rel=0.001)


@pytest.mark.parametrize(
  ("method", "size", "gigaflops"), [("mae", "B", 58.7), ("localmim", "B", 31.4)]
)
def test_colour_costs_what_products_of_matrices_come_to(method, size, gigaflops, tmp_path):
  """Counted by hand at the published sizes: encoder, decoder and heads, three passes."""
  colours = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)
  labels = np.arange(32) % 2
  np.savez(tmp_path / "own.npz", images=colours, labels=labels)
  arg = f"size={size},dataset=arrays,path={tmp_path}/own.npz,image=224"
  found = run.counted(config_lib.get_config(method, arg))
  assert found / 1e9 == pytest.approx(gigaflops, rel=0.005)
