"""data2vec-vision as its authors publish it: BEiT's names, and how it is told from BEiT.

Names and shapes are those of facebookresearch/data2vec_vision at af9a363, beit/modeling_cyclical.py
and beit/modeling_finetune.py; "model" and "model_ema" those of beit/utils.py.
"""

import jax
import numpy as np
import pytest
import safetensors.numpy

from mim_jax import weights
from mim_jax.errors import InputError
from mim_jax.weights import conversion, files

D, HEADS, TABLE = 8, 2, 3 * 3 + 3  # of 2 x 2 patches
BLOCK = {
  **{f"{norm}.{x}": (D,) for norm in ("norm1", "norm2") for x in ("weight", "bias")},
  **dict.fromkeys(("gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias", "attn.proj.bias"), (D,)),
  **{"attn.qkv.weight": (3 * D, D), "attn.proj.weight": (D, D)},
  **{"mlp.fc1.weight": (16, D), "mlp.fc1.bias": (16,)},
  **{"mlp.fc2.weight": (D, 16), "mlp.fc2.bias": (D,)},
}
NETWORK = {
  **{f"blocks.{i}.{name}": shape for i in range(2) for name, shape in BLOCK.items()},
  "cls_token": (1, 1, D),
  "patch_embed.proj.weight": (D, 3, 4, 4),
  "patch_embed.proj.bias": (D,),
  "rel_pos_bias.relative_position_bias_table": (TABLE, HEADS),
}
PRETRAINED = NETWORK | {
  "mask_token": (1, 1, D),
  **{"norm.weight": (D,), "norm.bias": (D,), "lm_head.weight": (D, D), "lm_head.bias": (D,)},
}
LABELLED = NETWORK | {
  **{"fc_norm.weight": (D,), "fc_norm.bias": (D,), "head.weight": (5, D), "head.bias": (5,)},
}
INDEX = "rel_pos_bias.relative_position_index"
OPTIONS = dict(heads=HEADS, image=8)


def written(folder, shapes, before="", **more):
  """(Arrays of these shapes, the file of them as a training script would name them)."""
  random = np.random.default_rng(0)
  drawn = {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()}
  stored = drawn | {INDEX: np.zeros((5, 5), np.int64)}
  stored = {before + k: x for k, x in stored.items()} | more
  folder.mkdir()
  safetensors.numpy.save_file(stored, folder / "model.safetensors")
  return drawn, folder / "model.safetensors"


@pytest.mark.parametrize("shapes", [PRETRAINED, LABELLED], ids=["pretrained", "labelled"])
@pytest.mark.parametrize("before", ["", "model.", "module."])
def test_every_array_goes_in_and_out(shapes, before, tmp_path):
  ema = {"model_ema.norm.weight": np.ones(D, np.float32)}
  drawn, file = written(tmp_path / "theirs", shapes, before, **ema)
  done = conversion.convert(file, tmp_path / "again", format="data2vec", **OPTIONS)
  assert done["layout"] == "data2vec:vit" and not done["lost"]
  assert done["left"] == {
    INDEX: "computed from the window's size",
    "model_ema.norm.weight": "the teacher, an average of the network",
  }
  assert "CC BY-NC, not for commercial use" in done["licence"]
  again = files.arrays(tmp_path / "again" / "model.safetensors")[0]
  assert again.keys() == drawn.keys()
  for name, x in drawn.items():
    np.testing.assert_array_equal(again[name], x, name)


def test_a_labelled_network_is_that_of_transformers(tmp_path):
  """Whose numbers are compared live, see tests/parity/models.py."""
  _, file = written(tmp_path / "theirs", LABELLED)
  found, config = weights.load(file, **OPTIONS)
  done = conversion.convert(file, tmp_path / "hf", format="hf:data2vec-vision", **OPTIONS)
  assert not done["lost"]
  again, other = weights.load(tmp_path / "hf")
  jax.tree.map(np.testing.assert_array_equal, found, again)
  assert config.parts.head == other.parts.head and other.parts.head.pool == "mean"


@pytest.mark.parametrize(
  ("shapes", "name", "layout"),
  [
    (PRETRAINED, "lm_head", "beit:vit"),  # scores of codes
    (LABELLED, "head", "data2vec:vit"),  # of classes
  ],
)
def test_it_is_told_from_beit(shapes, name, layout, tmp_path):
  other = shapes | {f"{name}.weight": (11, D), f"{name}.bias": (11,)}
  _, file = written(tmp_path / "theirs", other)
  assert weights.load(file, **OPTIONS)[1].source.layout == layout


def test_a_table_for_each_block_is_beits(tmp_path):
  shapes = {k: s for k, s in LABELLED.items() if "rel_pos" not in k}
  own = {f"blocks.{i}.attn.relative_position_bias_table": (TABLE, HEADS) for i in range(2)}
  _, file = written(tmp_path / "theirs", shapes | own)
  _, config = weights.load(file, **OPTIONS)
  assert config.source.layout == "beit:vit" and "MIT (microsoft/unilm)" in config.source.licence


def test_a_linear_classifier_whose_norm_has_no_arrays_is_refused(tmp_path):
  """Its norm of the mean stands in no array (`--linear_classifier`), so scores would be others."""
  shapes = {k: s for k, s in LABELLED.items() if "fc_norm" not in k}
  _, file = written(tmp_path / "theirs", shapes)
  with pytest.raises(
    InputError, match=r"a head, but neither 'norm.weight' nor 'fc_norm.weight'.*pre-trained file"
  ):
    weights.load(file, **OPTIONS)
