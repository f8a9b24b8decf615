"""CLIP's image side as its authors and open_clip store it.

Names and shapes: openai/CLIP at 0845fc4, clip/model.py (CLIP.state_dict()); `ls_1`, `ls_2` and the
settings: mlfoundations/open_clip at 01c3cd5.
"""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from mim_jax import weights
from mim_jax.cli import main as cli
from mim_jax.errors import InputError
from mim_jax.weights import conversion, files

D, EMBEDDING, TEXT = 8, 5, 4
NORMS = [f"{norm}.{x}" for norm in ("ln_1", "ln_2") for x in ("weight", "bias")]
BLOCK = dict.fromkeys(NORMS, (D,)) | {
  "attn.in_proj_weight": (3 * D, D),
  "attn.in_proj_bias": (3 * D,),
  **{"attn.out_proj.weight": (D, D), "attn.out_proj.bias": (D,)},
  **{"mlp.c_fc.weight": (32, D), "mlp.c_fc.bias": (32,)},
  **{"mlp.c_proj.weight": (D, 32), "mlp.c_proj.bias": (D,)},
}
VISUAL = {
  **{f"transformer.resblocks.{i}.{name}": s for i in range(2) for name, s in BLOCK.items()},
  "class_embedding": (D,),
  "positional_embedding": (5, D),
  "conv1.weight": (D, 3, 4, 4),
  **{f"{norm}.{x}": (D,) for norm in ("ln_pre", "ln_post") for x in ("weight", "bias")},
  "proj": (D, EMBEDDING),
}
TEXTS = {
  "transformer.resblocks.0.attn.in_proj_weight": (3 * TEXT, TEXT),
  "transformer.resblocks.0.mlp.c_fc.bias": (16,),
  "token_embedding.weight": (11, TEXT),
  "positional_embedding": (7, TEXT),
  "text_projection": (TEXT, EMBEDDING),
  "ln_final.weight": (TEXT,),
  "logit_scale": (),
}
SIZES = dict.fromkeys(("input_resolution", "context_length", "vocab_size"), ())
SCALES = {f"transformer.resblocks.{i}.ls_{k}.gamma": (D,) for i in range(2) for k in (1, 2)}
OPEN_CLIP = dict(
  model_cfg=dict(embed_dim=EMBEDDING, vision_cfg=dict(width=D, layers=2, head_width=4)),
  preprocess_cfg=dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.1, 0.3]),
)


def drawn(shapes, before=""):
  random = np.random.default_rng(0)
  return {before + k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}


def saved(folder, arrays, name="model.safetensors", config=None):
  folder.mkdir()
  safetensors.numpy.save_file(arrays, folder / name)
  if config:
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text('{"architecture": "of another file"}')
  return folder


def exported(folder):
  return files.arrays(folder / "model.safetensors")[0]


@pytest.mark.parametrize("before", ["", "state_dict.module."])
def test_every_array_goes_in_and_out(before, tmp_path):
  seen, rest = drawn(VISUAL, "visual."), drawn(TEXTS | SIZES)
  file = saved(tmp_path / "theirs", {before + k: x for k, x in (seen | rest).items()})
  done = conversion.convert(file, tmp_path / "again", format="clip", heads=2)
  assert done["layout"] == "clip:vit" and "MIT (openai/CLIP)" in done["licence"]
  whys = dict.fromkeys(TEXTS, "the side of the texts")
  assert done["left"] == whys | dict.fromkeys(SIZES, "a number that the shapes show")
  assert not done["lost"]
  again = exported(tmp_path / "again")
  assert {k: x.shape for k, x in again.items()} == {f"visual.{k}": s for k, s in VISUAL.items()}
  for name, x in seen.items():
    np.testing.assert_array_equal(again[name], x, name)
  found, config = weights.load(file, heads=2)
  twice, other = weights.load(tmp_path / "again")
  jax.tree.map(np.testing.assert_array_equal, found, twice)
  assert config.parts == other.parts


def test_the_image_side_alone_has_no_prefix(tmp_path):
  """`model.visual.state_dict()`, here without its projection."""
  alone = {k: x for k, x in drawn(VISUAL).items() if k != "proj"}
  file = saved(tmp_path / "theirs", alone)
  assert not conversion.convert(file, tmp_path / "again", format="clip", heads=2)["left"]
  again = exported(tmp_path / "again")
  assert again.keys() == alone.keys()
  for name, x in alone.items():
    np.testing.assert_array_equal(again[name], x, name)


def test_through_the_layout_of_transformers_it_is_the_same_network(tmp_path):
  file = saved(tmp_path / "theirs", drawn(VISUAL, "visual."))
  found, config = weights.load(file, heads=2)
  conversion.convert(file, tmp_path / "hf", format="hf:clip_vision_model", heads=2)
  conversion.convert(tmp_path / "hf", tmp_path / "back", format="clip")
  again, other = weights.load(tmp_path / "back")
  jax.tree.map(np.testing.assert_array_equal, found, again)
  assert config.parts == other.parts == weights.load(tmp_path / "hf")[1].parts
  encoder, head = config.parts.encoder, config.parts.head
  assert (encoder.stack.activation, encoder.stack.epsilon, encoder.pre_norm) == (
    "quick_gelu",
    1e-5,
    True,
  )
  assert (head.count, head.pool, head.bias) == (EMBEDDING, "class", False)
  view = config.data.view
  assert view.mean == (0.48145466, 0.4578275, 0.40821073) and view.resize == 1.0
  assert view.std == (0.26862954, 0.26130258, 0.27577711) and view.size == (8, 8)
  conversion.convert(file, tmp_path / "timm", format="timm", heads=2)
  assert weights.load(tmp_path / "timm")[1].data.view == view
  (tmp_path / "hf" / "preprocessor_config.json").unlink()  # CLIP's view without it, too
  assert weights.load(tmp_path / "hf")[1].data.view == view


def test_open_clips_settings_say_what_the_arrays_do_not(tmp_path):
  name, arrays = "open_clip_model.safetensors", drawn(VISUAL | SCALES, "visual.")
  folder = saved(tmp_path / "theirs", arrays, name, OPEN_CLIP)
  config = weights.load(folder)[1]
  stack, view = config.parts.encoder.stack, config.data.view
  assert (stack.heads, stack.activation, stack.layer_scale) == (2, "gelu", 1.0)
  assert (view.mean, view.std) == ((0.5, 0.4, 0.3), (0.2, 0.1, 0.3))
  conversion.convert(folder, tmp_path / "again", format="clip")
  assert exported(tmp_path / "again").keys() == arrays.keys()
  assert weights.load(tmp_path / "again")[1].parts == config.parts
  quick = OPEN_CLIP | dict(model_cfg=OPEN_CLIP["model_cfg"] | dict(quick_gelu=True))
  other = saved(tmp_path / "quick", arrays, name, quick)
  assert weights.load(other)[1].parts.encoder.stack.activation == "quick_gelu"


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_the_user_says_the_activation(activation, tmp_path):
  file = saved(tmp_path / "theirs", drawn(VISUAL, "visual."))
  ours = ["convert", f"--from={file}", f"--to={tmp_path / 'x'}", "--format=clip", "--heads=2"]
  assert not cli.main([*ours, f"--activation={activation}"])
  assert weights.load(tmp_path / "x")[1].parts.encoder.stack.activation == activation


def test_what_cannot_be_read_is_named(tmp_path):
  arrays = drawn(VISUAL, "visual.")
  file = saved(tmp_path / "theirs", arrays)
  with pytest.raises(InputError, match=r"how many attention heads a network of width 8.*--heads=N"):
    weights.load(file)
  with pytest.raises(InputError, match=r"--activation: 'quick_gelo'.*'quick_gelu'"):
    weights.load(file, heads=2, activation="quick_gelo")
  more = saved(tmp_path / "more", arrays | {"visual.ln_pots.weight": np.ones(D, np.float32)})
  with pytest.raises(InputError, match=r"'visual.ln_pots.weight' \(8,\).*'visual.ln_post.weight'"):
    weights.load(more, heads=2)
  residual = {k: x for k, x in arrays.items() if "resblocks" not in k}
  saved(tmp_path / "residual", residual | {"visual.bn1.weight": np.ones(D, np.float32)})
  with pytest.raises(InputError, match=r"no 'visual.transformer.*RN50 and so on\) are not read"):
    weights.load(tmp_path / "residual")
  vision = OPEN_CLIP["model_cfg"]["vision_cfg"] | dict(pool_type="avg")
  config = dict(model_cfg=dict(vision_cfg=vision))
  pooled = saved(tmp_path / "pooled", arrays, "open_clip_model.safetensors", config)
  with pytest.raises(InputError, match=r"pool_type is 'avg'; only 'tok'"):
    weights.load(pooled)
