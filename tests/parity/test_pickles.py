"""Files of torch.save: only when asked for, only arrays, in a process of its own."""

import argparse
import os

import jax
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import weights
from mim_jax.errors import InputError
from mim_jax.weights import export, files
from mim_jax.weights import parts as parts_lib

if not os.environ.get("CI"):
  pytest.importorskip("torch")

import torch

OPTIONS = dict(heads=2, decoder_heads=2, image=8, allow_pickle=True)


class Evil:
  def __reduce__(self):
    return (os.mkdir, ("ran",))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
  """Ours, and the same in the layout of MAE's authors."""
  folder = tmp_path_factory.mktemp("mae")
  config = config_lib.get_config("mae", "dataset=digits,size=nano")
  random = np.random.default_rng(0)
  drawn = {k: random.normal(size=s).astype(np.float32) for k, s in parts_lib.shapes(config).items()}
  export.write(folder, parts_lib.unflat(drawn), config, format="mae", note={})
  return drawn, {k: torch.from_numpy(x) for k, x in files.arrays(files.locate(folder))[0].items()}


def test_a_training_checkpoint_is_read(arrays, tmp_path):
  ours, theirs = arrays
  file = tmp_path / "checkpoint.pth"
  training = dict(epoch=3, args=argparse.Namespace(lr=0.1), optimizer=dict(state=theirs))
  torch.save(dict(model=theirs) | training, file)
  found, config = weights.load(file, **OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, parts_lib.flat(found), ours)
  assert config.source.layout == "mae:vit" and len(config.source.sha256) == 64


def test_the_target_encoder_of_ijepa_is_read_from_a_data_parallel_checkpoint(tmp_path):
  config = config_lib.get_config("ijepa", "dataset=digits,size=nano")
  random = np.random.default_rng(0)
  drawn = {k: random.normal(size=s).astype(np.float32) for k, s in parts_lib.shapes(config).items()}
  export.write(tmp_path / "x", parts_lib.unflat(drawn), config, format="ijepa", note={})
  flat = files.arrays(files.locate(tmp_path / "x"))[0]
  tree = dict(target_encoder={}, predictor={}, encoder={}, epoch=1)
  for name, x in flat.items():
    part, _, rest = name.partition(".")
    tree[part][f"module.{rest}"] = torch.from_numpy(x)
  tree["encoder"] = dict(tree["target_encoder"])
  torch.save(tree, tmp_path / "x.pth.tar")
  found, read = weights.load(tmp_path / "x.pth.tar", **OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, parts_lib.flat(found), drawn)
  assert read.source.left and all(name.startswith("encoder.") for name in read.source.left)


def test_code_in_a_pickle_does_not_run(arrays, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  torch.save(dict(model=arrays[1], evil=Evil()), "x.pth")
  with pytest.raises(InputError, match="torch did not open it with weights_only"):
    weights.load("x.pth", **OPTIONS)
  assert not (tmp_path / "ran").exists()
