"""Weights in and out: nothing is lost in silence, and every mistake is named."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from mim_jax import config as config_lib
from mim_jax import layers, weights
from mim_jax.cli import main as cli
from mim_jax.errors import InputError
from mim_jax.teachers import frozen
from mim_jax.weights import (
  adapt,
  conversion,
  export,
  files,
  layouts,
  native,
  published,
  reshaping,
  table,
)
from mim_jax.weights import parts as parts_lib
from mim_jax.weights.layouts import base

OPTIONS = dict(heads=2, decoder_heads=2, image=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A finished run: its folder, its variables, its config."""
  folder = tmp_path_factory.mktemp("run")
  config = config_lib.get_config("mae", "dataset=digits,size=nano")
  random = np.random.default_rng(0)
  shapes = parts_lib.shapes(config)
  drawn = {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}
  native.save(folder / native.FILE, parts_lib.unflat(drawn), config)
  return folder, parts_lib.unflat(drawn), config


@pytest.fixture
def mae(run, tmp_path):
  """That run in the layout of MAE's authors: a file to change, and its arrays."""
  conversion.convert(run[0], tmp_path / "mae", format="mae")
  file = tmp_path / "mae" / "model.safetensors"
  return file, files.arrays(file)[0]


def changed(mae, **more):
  """The file with other arrays."""
  file, arrays = mae
  kept = {k: x for k, x in {**arrays, **more}.items() if x is not None}
  safetensors.numpy.save_file(kept, file)
  return file


def test_a_run_goes_out_and_comes_back(run, mae):
  found, config = weights.load(mae[0], **OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, found, run[1])
  assert config.source.layout == "mae:vit"
  assert "SinCos" in config.parts.encoder.positions.part
  assert config.parts.encoder.stack.heads == 2
  assert "CC BY-NC 4.0" in config.source.licence and "not stated" in config.source.licence


def test_stacked_blocks_of_a_scan_go_out_as_blocks(run, tmp_path):
  _, variables, config = run
  flat = parts_lib.flat(variables)
  config = config.copy_and_resolve_references()
  config.parts.encoder.stack.scan = True
  stacked = {k: x for k, x in flat.items() if "encoder/stack" not in k}
  names = [k for k in flat if "encoder/stack/block_00" in k]
  for name in names:
    one = flat[name.replace("block_00", "block_01")]
    stacked[name.replace("block_00", "blocks")] = np.stack([flat[name], one])
  export.write(tmp_path, parts_lib.unflat(stacked), config, format="mae", note={})
  found, _ = weights.load(tmp_path, **OPTIONS)
  jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_what_is_missing_too_much_or_of_another_shape_is_named(mae):
  norm = mae[1]["norm.weight"]
  with pytest.raises(
    InputError,
    match=r"1 arrays are missing, the first is 'norm.bias' for our 'encoder/norm/bias'; did you mean 'norm.biass'",
  ):
    weights.load(changed(mae, **{"norm.bias": None, "norm.biass": norm}), **OPTIONS)
  with pytest.raises(
    InputError,
    match=r"1 arrays have no place here, the first is 'norm.biass' \(24,\); did you mean",
  ):
    weights.load(changed(mae, **{"norm.biass": norm}), **OPTIONS)
  with pytest.raises(
    InputError,
    match=r"'norm.weight' is \(25,\), but \(24,\) is needed for our 'encoder/norm/scale'",
  ):
    weights.load(changed(mae, **{"norm.weight": np.zeros(25, np.float32)}), **OPTIONS)


def test_what_is_left_out_is_listed(mae):
  more = {"head.weight": np.zeros((3, 24), np.float32), "extra.a": np.zeros(2, np.float32)}
  _, config = weights.load(changed(mae, **more), leave=(r"extra\..*",), **OPTIONS)
  assert config.source.left == ("extra.a", "head.weight")


def test_what_no_file_says_is_asked_for(mae):
  with pytest.raises(InputError, match=r"how many attention heads .* width 24 has.* --heads=N"):
    weights.load(mae[0])
  with pytest.raises(InputError, match="option: 'head' is unknown; did you mean 'heads'"):
    weights.load(mae[0], head=2)


def test_other_positions_of_the_decoder_are_refused(mae):
  wrong = mae[1]["decoder_pos_embed"] + 1
  with pytest.raises(InputError, match="'decoder_pos_embed' are not the sine-cosine positions"):
    weights.load(changed(mae, decoder_pos_embed=wrong), **OPTIONS)


def test_other_positions_of_the_encoder_are_learned_ones(mae):
  other = mae[1]["pos_embed"] + 1
  found, config = weights.load(changed(mae, pos_embed=other), **OPTIONS)
  assert config.parts.encoder.positions == config_lib.part(layers.Learned, grid=(4, 4))
  np.testing.assert_array_equal(found["params"]["encoder"]["positions_table"], other[:, 1:])
  with pytest.raises(InputError, match="'pos_embed' has 14 positions, which is no square grid"):
    weights.load(changed(mae, pos_embed=other[:, :15]), **OPTIONS)


@pytest.mark.parametrize("positions", [layers.SinCos, layers.Learned])
def test_a_decoder_goes_along_whatever_the_positions_are(positions):
  config = config_lib.get_config("mae", "dataset=digits,size=nano")
  config.parts.encoder.positions = config_lib.part(positions)
  assert export.choose("hf", config).name == "hf:vit_mae"
  del config.parts.predictor
  assert export.choose("hf", config).name == "hf:vit"


def test_a_pickle_is_never_opened_unasked(tmp_path):
  file = tmp_path / "x.pth"
  file.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
  with pytest.raises(InputError, match=r"a pickle can run code.*--allow-pickle"):
    weights.load(file)
  with pytest.raises(InputError, match="torch did not open it with weights_only"):
    weights.load(file, allow_pickle=True)
  assert not (tmp_path / "ran").exists()
  (tmp_path / "model.safetensors").write_bytes(file.read_bytes())
  with pytest.raises(InputError, match="not a readable safetensors file"):
    weights.load(tmp_path)


def test_files_that_are_not_there_or_not_readable(tmp_path):
  with pytest.raises(InputError, match="there is no such file"):
    weights.load(tmp_path / "none.safetensors")
  (tmp_path / "config.json").write_text("{")
  safetensors.numpy.save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
  with pytest.raises(InputError, match=r"config.json: not readable as JSON"):
    weights.load(tmp_path)
  with pytest.raises(InputError, match=r"modle.safetensors: .*did you mean 'model.safetensors'\?"):
    weights.load(tmp_path / "modle.safetensors")
  with pytest.raises(InputError, match="there is no such file. Give the folder of a finished run"):
    weights.load(tmp_path / "nowhere" / "model.safetensors")


def test_another_file_than_the_pinned_one_is_refused(mae):
  with pytest.raises(InputError, match=r"its sha256 is .* but 00 is expected"):
    weights.load(mae[0], "00", **OPTIONS)


@pytest.mark.parametrize(
  ("card", "given", "expected"),
  [
    ("---\nlicense: cc-by-nc-4.0\ntags: [a]\n---\ntext", None, "cc-by-nc-4.0"),
    ("---\nlicense: mit\n---\n", "my own", "my own"),
    ("# no front matter\nlicense: mit", None, "not stated"),
  ],
)
def test_the_licence_goes_along(mae, tmp_path, card, given, expected):
  file, _ = mae
  (file.parent / "README.md").write_text(card)
  out = tmp_path / "out"
  done = conversion.convert(file, out, format="mim_jax", licence=given, **OPTIONS)
  assert done["licence"].startswith(expected)
  with safetensors.safe_open(out / native.FILE, framework="numpy") as opened:
    assert opened.metadata()["licence"] == done["licence"]
  again = conversion.convert(out, tmp_path / "timm", format="timm")
  assert again["licence"] == done["licence"]
  with safetensors.safe_open(tmp_path / "timm" / "model.safetensors", framework="numpy") as opened:
    assert opened.metadata()["licence"] == done["licence"]
  assert all(name.startswith("predictor/") for name in again["lost"]) and again["lost"]


def test_a_format_that_cannot_hold_the_network(run, tmp_path):
  _, variables, config = run
  with pytest.raises(InputError, match="--format: 'tim' is unknown; did you mean 'timm'"):
    conversion.convert(run[0], tmp_path, format="tim")
  with pytest.raises(InputError, match="no network of that format has this encoder.*dinov2"):
    conversion.convert(run[0], tmp_path, format="dinov2")
  relative = config.copy_and_resolve_references()
  flat = parts_lib.flat(variables) | {"encoder/relative_table": np.zeros((52, 2), np.float32)}
  with pytest.raises(
    InputError, match=r"no place for our 'encoder/relative_table' \(52, 2\).*another --format"
  ):
    export.write(tmp_path, parts_lib.unflat(flat), relative, format="timm:vit", note={})


def test_the_command(run, tmp_path, capsys):
  assert not cli.main(
    ["convert", f"--from={run[0]}", f"--to={tmp_path / 'hf'}", "--format=hf", "--licence=MIT"]
  )
  shown = capsys.readouterr().out
  assert "licence:  MIT" in shown and "model.safetensors" in shown and "sha256" in shown
  stated = json.loads((tmp_path / "hf" / "config.json").read_text())
  assert stated["architectures"] == ["ViTMAEForPreTraining"]
  found, config = weights.load(tmp_path / "hf")
  jax.tree.map(np.testing.assert_array_equal, found, run[1])
  assert config.source.licence == "MIT"
  assert cli.main(["convert", f"--from={tmp_path}", f"--to={tmp_path}", "--format=hf"]) == 2
  assert "Give the folder of a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("normalize", [True, False])
def test_whether_a_decoder_says_normalised_pixels_goes_along(run, tmp_path, normalize):
  _, variables, config = run
  config = config.copy_and_resolve_references()
  config.objective.target.normalize = normalize
  export.write(tmp_path / "one", variables, config, format="hf", note={})
  again, known = weights.load(tmp_path / "one")
  export.write(tmp_path / "two", again, known, format="hf", note={})
  for folder in ("one", "two"):
    assert json.loads((tmp_path / folder / "config.json").read_text())["norm_pix_loss"] is normalize


def test_other_channels_patches_and_grids(run, mae):
  file, _ = mae
  image = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
  found, config = weights.load(file, channels=3, patch=3, **OPTIONS)
  assert config.parts.tokenizer.patch == 3 and tuple(config.data.view.size) == (12, 12)
  assert "predictor" not in config.parts and "predictor" not in found["params"]
  parts = parts_lib.parts_of(config).bind(jax.tree.map(jnp.asarray, found))
  same = parts.encoder(parts.tokenizer(image)).values
  assert same.shape == (2, 16, 24)

  found, config = weights.load(file, grid=(6, 4), **OPTIONS)
  assert config.parts.encoder.positions.grid == (6, 4)
  assert found["params"]["encoder"]["positions_table"].shape == (1, 24, 24)


def test_a_constant_patch_looks_the_same_to_a_kernel_for_larger_patches():
  kernel = np.random.default_rng(0).normal(size=(4, 4, 3, 5)).astype(np.float32)
  for patch in (6, 8):
    bigger = adapt.with_patch(kernel, patch)
    np.testing.assert_allclose(bigger.sum((0, 1)), kernel.sum((0, 1)), atol=1e-4)


def test_published_weights_are_a_frozen_teacher_by_path_and_hash(run, mae):
  file, _ = mae
  conversion.convert(file, file.parent / "own", format="mim_jax", **OPTIONS)
  teacher = frozen.FromRun(**native.pinned(file.parent / "own"))
  bound = teacher.bind(None, teacher.init(None), {})
  images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
  own = parts_lib.parts_of(run[2]).bind(jax.tree.map(jnp.asarray, run[1]))
  expected = own.encoder(own.tokenizer(images)).values
  np.testing.assert_array_equal(bound.encoder(bound.tokenizer(images)).values, expected)


@pytest.mark.parametrize("layout", layouts.ALL, ids=lambda layout: layout.name)
def test_every_row_of_every_table_is_sound(layout):
  rows = table.parse(layout.table)
  assert len({ours for ours, _, _ in rows}) == len(rows), "one row for each of our names"
  known = published.rules_for(config_lib.get_config("mae", "dataset=digits,size=nano"))
  for ours, theirs, rule in rows:
    assert rule in known, rule
    assert ours.removeprefix("batch_stats/").split("/")[0] in (
      "tokenizer",
      "encoder",
      "predictor",
      "head",
    )
    assert "%" not in theirs and "@" not in theirs
    assert theirs.count("#") == ours.count("#") or "*" in theirs


def test_a_table_is_its_own_inverse_for_any_arrays():
  text = """
a/block_#/x | p.#.{u,-,w} |
a/both      | q[a] |
a/rest      | q[b] |
a/all       | r.*.z | linear
"""
  random = np.random.default_rng(0)
  shapes = {"a/block_00/x": (6,), "a/block_01/x": (6,), "a/both": (1, 2, 3), "a/rest": (1, 4, 3)}
  shapes["a/all"] = (2, 3, 5)
  ours = {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}
  for i in range(2):
    ours[f"a/block_{i:02d}/x"][2:4] = 0  # what they do not have
  pairs = table.pairs(text, shapes, reshaping.rules((2, 2), 3))
  theirs = table.to_theirs(pairs, ours)
  assert {k: x.shape for k, x in theirs.items()} == {
    "p.0.u": (2,),
    "p.0.w": (2,),
    "p.1.u": (2,),
    "p.1.w": (2,),
    "q": (1, 6, 3),
    "r.0.z": (5, 3),
    "r.1.z": (5, 3),
  }
  again = table.to_ours(pairs, theirs, ())
  jax.tree.map(np.testing.assert_array_equal, again, ours)
  assert table.look(text, {k: x.shape for k, x in theirs.items()}).keys() == ours.keys()


def test_hidden_acts_that_ours_does_not_have_are_named(mae):
  source = files.source(mae[0], mae[1], OPTIONS)
  source = base.Source({}, source.config | dict(hidden_act="relu"), {}, {})
  from mim_jax.weights.layouts import hf_configs

  with pytest.raises(InputError, match="hidden_act: 'relu' is unknown"):
    hf_configs.facts(source.config, source)
