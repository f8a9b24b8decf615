"""Heads of published networks: read, written, or named as left out with the reason."""

import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import safetensors.numpy

from mim_jax import encoders, heads, layers, tokenizers, weights
from mim_jax.cli import main as cli
from mim_jax.config import part
from mim_jax.core import Latents
from mim_jax.errors import InputError
from mim_jax.weights import conversion, export, files, published
from mim_jax.weights import parts as parts_lib

LEARNED = part(layers.Learned, grid=(2, 2))
SEEN = {"part": "mim_jax.data.image.center_crop", "size": (8, 8), "resize": 1.0}
SEEN |= dict(mean=(0.5,) * 3, std=(0.25,) * 3)


def vit(positions=LEARNED, masking=None, pre_norm=False, norm="affine", **settings):
  """The node of a small ViT."""
  own = {k: settings.pop(k) for k in {"class_tokens", "registers"} & settings.keys()}
  own |= dict(pre_norm=pre_norm, norm=norm, masking=masking or part(layers.Drop))
  stack = part(layers.Stack, depth=1, heads=2, **settings)
  return part(encoders.ViT, stack=stack, positions=positions, **own)


def network(encoder, head, **tokenizer):
  """A config and arrays drawn at random."""
  tokenizer = part(tokenizers.ImagePatches, **(dict(patch=4, width=8) | tokenizer))
  config = ml_collections.ConfigDict(dict(parts=dict(tokenizer=tokenizer, encoder=encoder)))
  if head is not None:
    config.parts.head = head
  config.data = dict(view=SEEN)
  random = np.random.default_rng(0)
  shapes = parts_lib.shapes(config, masked=False)
  drawn = {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}
  return parts_lib.unflat(drawn), config


def scores(count=3, **settings):
  return part(heads.Classifier, count=count, **settings)


VITS = {
  "timm:vit": (vit(), scores()),
  "timm:vit, mean": (vit(norm="none"), scores(pool="mean", norm=True)),
  "timm:vit, registers": (vit(registers=2), scores()),
  "timm:vit, no class token": (vit(class_tokens=0), scores(pool="mean")),
  "hf:vit": (vit(), scores()),
  "hf:dinov2": (vit(layer_scale=1.0), scores(pool="both")),
  "hf:clip_vision_model": (vit(pre_norm=True), scores(bias=False)),
}


@pytest.mark.parametrize("case", VITS)
def test_a_head_goes_out_and_comes_back(case, tmp_path):
  encoder, head = VITS[case]
  bias = {} if "clip" not in case else dict(bias=False)
  variables, config = network(encoder, head, **bias)
  assert not export.write(tmp_path, variables, config, format=case.partition(",")[0], note={})
  found, again = weights.load(tmp_path, image=8)
  if "registers" in case:  # the class token's position is in the token now
    for there in (found, variables):
      encoder = there["params"]["encoder"]
      encoder["class_token"] = encoder["class_token"] + encoder.pop("class_positions")
  jax.tree.map(np.testing.assert_array_equal, found, variables)
  view = again.data.view
  assert (view.mean, view.std, view.size) == (SEEN["mean"], SEEN["std"], SEEN["size"])
  told, meant = again.parts.head, config.parts.head
  for name in ("count", "pool", "norm", "bias"):
    assert told[name] == meant[name], name


def test_a_head_that_sees_something_else_is_not_written(tmp_path):
  variables, config = network(vit(), scores(pool="mean"))
  lost = export.write(tmp_path, variables, config, format="hf:vit", note={})
  assert lost == ["head/classifier/bias", "head/classifier/kernel"]
  assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["ViTModel"]
  kept = export.write(tmp_path, variables, config, format="timm", note={})
  stated = json.loads((tmp_path / "config.json").read_text())
  assert not kept and stated["num_classes"] == 3 and stated["model_args"]["global_pool"] == "avg"


def test_what_stands_in_for_masked_tokens_is_not_written_where_none_are(tmp_path):
  variables, config = network(vit(masking=part(layers.Replace)), None)
  token = np.zeros((1, 1, 8), np.float32)
  variables["params"]["encoder"]["mask_token"] = token
  lost = export.write(tmp_path, variables, config, format="timm", note={})
  assert lost == ["encoder/mask_token"]
  assert "mask_token" not in files.arrays(tmp_path / "model.safetensors")[0]


def test_the_head_of_self_distillation_is_read_and_written(tmp_path):
  head = part(heads.ProjectionHead, count=6, hidden=5, bottleneck=4, gains=True)
  variables, config = network(vit(part(layers.Learned, grid=(2, 2), grid_offset=0.1)), head)
  assert not export.write(tmp_path, variables, config, format="ibot", note={})
  arrays = files.arrays(tmp_path / "model.safetensors")[0]
  assert arrays["head.last_layer.weight_v"].shape == (6, 4)
  assert arrays["head.last_layer.weight_g"].shape == (6, 1)
  arrays = {f"teacher.{k}": x for k, x in arrays.items()}
  arrays["student.head.x"] = arrays["teacher.head.last_layer2.weight_g"] = np.zeros(1, np.float32)
  safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
  found, again = weights.load(tmp_path, heads=2)
  jax.tree.map(np.testing.assert_array_equal, found, variables)
  assert again.parts.head == config.parts.head
  why = conversion.reasons(again.source.layout, again.source.left)
  assert why.keys() == {"student.head.x", "head.last_layer2.weight_g"}
  assert why["student.head.x"] == "its average, the teacher, is taken"


def test_videomaes_fine_tuned_network_is_not_taken_for_beits(tmp_path):
  """Their names, but for the kernel of cubes: MCG-NJU/VideoMAE, modeling_finetune.py."""
  encoder = vit(part(layers.SinCos), class_tokens=0, key_bias=False, norm="none")
  cubes = part(tokenizers.VideoCubes, tubelet=2, patch=4, width=8)
  config = ml_collections.ConfigDict(dict(parts=dict(tokenizer=cubes, encoder=encoder)))
  config.parts.head = scores(pool="mean", norm=True)
  config.data = dict(view=SEEN, frames=4)
  shapes = parts_lib.shapes(config, masked=False)
  random = np.random.default_rng(0)
  drawn = {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}
  assert not export.write(tmp_path, parts_lib.unflat(drawn), config, format="videomae", note={})
  file = tmp_path / "model.safetensors"
  arrays = files.arrays(file)[0]
  block = {k.removeprefix("blocks.0.") for k in arrays if k.startswith("blocks.0.")}
  assert {"attn.q_bias", "attn.v_bias", "attn.qkv.weight", "mlp.fc1.weight"} <= block
  others = {k for k in arrays if "blocks" not in k}
  names = ("patch_embed.proj", "fc_norm", "head")
  assert others == {f"{name}.{x}" for name in names for x in ("weight", "bias")}
  safetensors.numpy.save_file({f"module.{k}": x for k, x in arrays.items()}, file)
  found, again = weights.load(tmp_path, heads=2, image=8)
  jax.tree.map(np.testing.assert_array_equal, found, parts_lib.unflat(drawn))
  assert again.source.layout == "videomae:labelled" and "CC BY-NC" in again.source.licence
  assert again.parts.head == config.parts.head and "SinCos" in again.parts.encoder.positions.part


def test_what_is_left_out_is_shown_with_the_reason(tmp_path, capsys):
  variables, config = network(vit(pre_norm=True), None, bias=False)
  export.write(tmp_path / "clip", variables, config, format="hf:clip_vision_model", note={})
  file = tmp_path / "clip" / "model.safetensors"
  arrays = {f"vision_model.{k}": x for k, x in files.arrays(file)[0].items()}
  more = ("text_model.final_layer_norm.weight", "text_projection.weight", "logit_scale", "own.x")
  arrays |= {name: np.zeros(3, np.float32) for name in more}
  arrays["visual_projection.weight"] = np.zeros((5, 8), np.float32)
  safetensors.numpy.save_file(arrays, file)
  told = json.loads((tmp_path / "clip" / "config.json").read_text())
  whole = dict(model_type="clip", vision_config=told)
  (tmp_path / "clip" / "config.json").write_text(json.dumps(whole))
  ours = ["convert", f"--from={tmp_path / 'clip'}", f"--to={tmp_path / 'x'}", "--format=mim_jax"]
  assert not cli.main([*ours, r"--leave=own\..*"])
  shown = capsys.readouterr().out
  assert "left out, as asked: own.x" in shown
  texts = "logit_scale, text_model.final_layer_norm.weight, text_projection.weight"
  assert f"left out, the side of the texts: {texts}" in shown
  assert weights.load(tmp_path / "x")[1].parts.head.count == 5


def test_of_microsofts_swin_its_own_names_are_read():
  encoder = part(encoders.Swin, depths=(1, 1), heads=(1, 2), window=2)
  variables, config = network(encoder, scores(pool="mean"), patch=2)
  pairs = published.table.pairs
  layout = next(x for x in export.layouts.ALL if x.name == "simmim:swin")
  flat = parts_lib.flat(variables)
  shapes = {k: x.shape for k, x in flat.items()}
  found = pairs(layout.table, shapes, published.rules_for(config))
  theirs = published.table.to_theirs(found, flat)
  theirs = {k.removeprefix("encoder."): x for k, x in theirs.items()}
  assert "layers.0.downsample.reduction.weight" in theirs and "head.weight" in theirs
  again, _ = published.read(export.base.Source(theirs, {}, {}, dict(image=8)))
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize("pool", ["class", "mean", "both"])
def test_what_a_classifier_sees(pool):
  random = np.random.default_rng(1)
  values, prefix = (random.normal(size=(2, n, 4)).astype(np.float32) for n in (3, 1))
  model = heads.Classifier(0, pool=pool)
  found = model.apply({}, Latents(jnp.asarray(values), jnp.asarray(prefix)))
  seen = dict(zip(("class", "mean"), (prefix[:, 0], values.mean(1)), strict=True))
  seen["both"] = np.concatenate([seen["class"], seen["mean"]], -1)
  np.testing.assert_allclose(found, seen[pool], atol=1e-6)


def test_a_pool_that_there_is_not():
  x = Latents(jnp.zeros((1, 2, 4)), jnp.zeros((1, 1, 4)))
  with pytest.raises(InputError, match=r"head.pool: 'clas' is unknown; did you mean 'class'"):
    heads.Classifier(2, pool="clas").init(jax.random.key(0), x)
