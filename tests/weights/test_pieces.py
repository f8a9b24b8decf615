"""Weights in several files with an index, as large networks are published."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from mim_jax import config as config_lib
from mim_jax import weights
from mim_jax.errors import InputError
from mim_jax.weights import export, files, native
from mim_jax.weights import parts as parts_lib

INDEX = "model.safetensors.index.json"
PIECES = tuple(f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
OPTIONS = dict(heads=2, decoder_heads=2, image=8)


@pytest.fixture(scope="module")
def network():
  """Variables drawn at random, and their config."""
  config = config_lib.get_config("mae", "dataset=digits,size=nano")
  random = np.random.default_rng(0)
  shapes = parts_lib.shapes(config)
  drawn = {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}
  return parts_lib.unflat(drawn), config


@pytest.fixture
def folder(network, tmp_path):
  """That network as its authors would write it, in two pieces."""
  export.write(tmp_path, *network, format="mae", note={})
  whole = tmp_path / "model.safetensors"
  arrays = files.arrays(whole)[0]
  whole.unlink()
  half = len(arrays) // 2
  split = {name: PIECES[i >= half] for i, name in enumerate(sorted(arrays))}
  for piece in PIECES:
    held = {k: x for k, x in arrays.items() if split[k] == piece}
    safetensors.numpy.save_file(held, tmp_path / piece)
  (tmp_path / INDEX).write_text(json.dumps(dict(metadata={}, weight_map=split)))
  return tmp_path


def renamed(folder, **names):
  """The index with other files for some arrays; None takes one out."""
  told = json.loads((folder / INDEX).read_text())
  told["weight_map"] = {k: v for k, v in (told["weight_map"] | names).items() if v is not None}
  (folder / INDEX).write_text(json.dumps(told))


@pytest.mark.parametrize("path", ["", INDEX])
def test_pieces_are_read_as_one_file(network, folder, path):
  found, config = weights.load(folder / path, **OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, found, network[0])
  assert config.source.path.endswith(INDEX) and config.source.layout == "mae:vit"


def test_the_hash_is_of_the_index_and_all_pieces(folder):
  known = native.pinned(folder)["sha256"]
  weights.load(folder, known, **OPTIONS)
  for name in (INDEX, *PIECES):
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(before + b" ")
    with pytest.raises(InputError, match=rf"its sha256 is .* but {known} is expected"):
      weights.load(folder, known, **OPTIONS)
    (folder / name).write_bytes(before)
  assert native.pinned(folder)["sha256"] == known


def test_one_file_is_hashed_as_ever(folder):
  file = folder / "one"
  file.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
  assert files.sha256(file).startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize(
  "name",
  ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "a\\x.safetensors", "..", "x.bin", ""],
)
def test_files_elsewhere_and_of_other_kinds_are_not_opened(folder, name):
  renamed(folder, **{"norm.bias": name})
  with pytest.raises(InputError, match=r"said to have 'norm.bias', is not the name of a safeten"):
    weights.load(folder, **OPTIONS)


def test_a_missing_piece_is_named(folder):
  (folder / PIECES[1]).unlink()
  with pytest.raises(InputError, match=rf"{PIECES[1]}: there is no such file.* the first is '"):
    weights.load(folder, **OPTIONS)


def test_a_piece_that_has_other_arrays_than_the_index_says(folder):
  renamed(folder, **{"norm.biass": PIECES[1], "norm.bias": None})
  with pytest.raises(
    InputError, match=rf"{PIECES[1]}: it lacks 'norm.biass'.*did you mean 'norm.bias'.*one set"
  ):
    weights.load(folder, **OPTIONS)
  renamed(folder, **{"norm.biass": None})
  with pytest.raises(InputError, match=rf"{PIECES[1]}: it has 'norm.bias', unlike {INDEX} says"):
    weights.load(folder, **OPTIONS)


@pytest.mark.parametrize("text", ["{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none(folder, text):
  (folder / INDEX).write_text(text)
  with pytest.raises(InputError, match=r"not an index of weights, which has .*weight_map.*anew"):
    weights.load(folder, **OPTIONS)


def test_a_piece_that_is_no_safetensors_file_and_an_index_that_is_no_json(folder):
  (folder / PIECES[0]).write_bytes(b"cos\nsystem\n")
  with pytest.raises(InputError, match=rf"{PIECES[0]}: not a readable safetensors file"):
    weights.load(folder, **OPTIONS)
  (folder / INDEX).write_text("{")
  with pytest.raises(InputError, match=rf"{INDEX}: not readable as JSON"):
    weights.load(folder, **OPTIONS)
