"""ViT, Swin, ResNet and ConvNeXt as timm stores them; others write their ViTs almost alike."""

import math
from typing import Any

import numpy as np

from mim_jax.weights import table
from mim_jax.weights.layouts import base, conv, hf, timm_configs

BLOCK = """
@/norm1/scale            | %.norm1.weight
@/norm1/bias             | %.norm1.bias
@/attention/qkv/kernel   | %.attn.qkv.weight | linear
@/attention/qkv/bias     | %.attn.qkv.bias
@/attention/out/kernel   | %.attn.proj.weight | linear
@/attention/out/bias     | %.attn.proj.bias
@/norm2/scale            | %.norm2.weight
@/norm2/bias             | %.norm2.bias
@/mlp/up/kernel          | %.mlp.fc1.weight | linear
@/mlp/up/bias            | %.mlp.fc1.bias
@/mlp/down/kernel        | %.mlp.fc2.weight | linear
@/mlp/down/bias          | %.mlp.fc2.bias
"""
SCALES = """
@/residual1/scale        | %.ls1.gamma
@/residual2/scale        | %.ls2.gamma
"""
PATCHES = """
tokenizer/embed/kernel   | %patch_embed.proj.weight | patches
tokenizer/embed/bias     | %patch_embed.proj.bias
"""
POSITIONS = """
encoder/class_token      | %cls_token
encoder/class_positions  | %pos_embed[a]
encoder/positions_table  | %pos_embed[b]
"""
NORM = """
encoder/norm/scale       | %norm.weight
encoder/norm/bias        | %norm.bias
"""
MORE = """
encoder/register_token   | %reg_token
encoder/pre_norm/scale   | %norm_pre.weight
encoder/pre_norm/bias    | %norm_pre.bias
"""
STEM = PATCHES + POSITIONS + NORM


def encoder(block: str, rest: str, prefix: str = "", path: str = "blocks.#") -> str:
  """Makes the rows of a ViT whose names begin with `prefix`."""
  rows = base.blocks(block, "encoder/stack/block_#", f"{prefix}{path}")
  return rows + rest.replace("%", prefix)


HEAD = """
head/norm/scale          | %fc_norm.weight
head/norm/bias           | %fc_norm.bias
head/classifier/kernel   | %head.weight | linear
head/classifier/bias     | %head.bias
"""
VIT = encoder(BLOCK + SCALES, STEM + MORE + HEAD)
FC = """
head/classifier/kernel   | head.fc.weight | linear
head/classifier/bias     | head.fc.bias
"""

SWIN_BLOCK = (
  BLOCK
  + """
@/relative_table         | %.attn.relative_position_bias_table
"""
)
SWIN_STEM = (
  PATCHES
  + NORM
  + """
encoder/patch_norm/scale | %patch_embed.norm.weight
encoder/patch_norm/bias  | %patch_embed.norm.bias
"""
)
MERGE = """
@/norm/scale             | %.downsample.norm.weight
@/norm/bias              | %.downsample.norm.bias
@/reduce/kernel          | %.downsample.reduction.weight | linear
"""
STAGES = 4  # of every published Swin


def swin(prefix: str, before: int) -> str:
  """Makes the rows of a Swin transformer, whose merges belong to the stage so many before ours."""
  rows = base.blocks(SWIN_BLOCK, "encoder/stage_#_block_#", f"{prefix}layers.#.blocks.#")
  for i in range(1, STAGES):
    rows += base.blocks(MERGE, f"encoder/merge_{i}", f"{prefix}layers.{i - before}")
  return rows + SWIN_STEM.replace("%", prefix)


CONV_NORM = """
@/CONV/kernel               | KERNEL.weight | conv
@/NORM/scale                | BATCH.weight
@/NORM/bias                 | BATCH.bias
batch_stats/@/NORM/mean     | BATCH.running_mean
batch_stats/@/NORM/variance | BATCH.running_var
"""


def _step(ours: str, names: str) -> str:
  """Makes the rows of a convolution and its norm; `names`: ours and theirs of each."""
  conv_name, kernel, norm_name, batch = names.split()
  rows = CONV_NORM.replace("@", ours).replace("CONV", conv_name).replace("NORM", norm_name)
  return rows.replace("KERNEL", kernel).replace("BATCH", batch)


RESNET = _step("encoder", "stem conv1 stem_norm bn1") + "".join(
  _step("encoder/stage_#_block_#", names)
  for names in (
    "conv0 layer#+1.#.downsample.0 norm0 layer#+1.#.downsample.1",
    *(f"conv{i} layer#+1.#.conv{i} norm{i} layer#+1.#.bn{i}" for i in (1, 2, 3)),
  )
)
RESNET += FC.replace("head.fc", "fc")
CONVNEXT = base.blocks(
  """
encoder/stem/kernel             | stem.0.weight | conv
encoder/stem/bias               | stem.0.bias
encoder/stem_norm/norm/scale    | stem.1.weight
encoder/stem_norm/norm/bias     | stem.1.bias
encoder/stage_#_norm/norm/scale | stages.#.downsample.0.weight
encoder/stage_#_norm/norm/bias  | stages.#.downsample.0.bias
encoder/stage_#/kernel          | stages.#.downsample.1.weight | conv
encoder/stage_#/bias            | stages.#.downsample.1.bias
@/depthwise/kernel              | %.conv_dw.weight | conv
@/depthwise/bias                | %.conv_dw.bias
@/norm/norm/scale               | %.norm.weight
@/norm/norm/bias                | %.norm.bias
@/up/kernel                     | %.mlp.fc1.weight | linear
@/up/bias                       | %.mlp.fc1.bias
@/down/kernel                   | %.mlp.fc2.weight | linear
@/down/bias                     | %.mlp.fc2.bias
@/residual/scale                | %.gamma
""",
  "encoder/stage_#_block_#",
  "stages.#.blocks.#",
)
CONVNEXT += (
  FC
  + """
head/norm/scale          | head.norm.weight
head/norm/bias           | head.norm.bias
"""
)


def read(layout: base.Layout, source: base.Source):
  """Makes our parts for a ViT; its name in config.json says whether its GELU is CLIP's."""
  has = table.look(layout.table, source.shapes())
  width = has["tokenizer/embed/kernel"][0]
  quick = "quickgelu" in source.config.get("architecture", "")
  facts: dict[str, Any] = dict(
    heads=base.heads_of(source, width),
    epsilon=1e-5 if "encoder/pre_norm/scale" in has else 1e-6,
    activation=base.activation_of(source, "quick_gelu" if quick else "gelu"),
  ) | layout.facts(has)
  if "predictor/embed/kernel" in has:
    inner = has["predictor/embed/kernel"][0]
    facts["decoder_heads"] = base.heads_of(source, inner, "decoder_heads")
  return base.vit(layout, source, facts)


def add_class_row(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Adds a zero for the class token to positions of patches alone (networks with registers)."""
  found = arrays.get("pos_embed")
  if found is None or "cls_token" not in arrays or math.isqrt(found.shape[1]) ** 2 != len(found[0]):
    return arrays
  return arrays | {"pos_embed": np.concatenate([np.zeros_like(found[:, :1]), found], 1)}


def fold_class_row(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Undoes `add_class_row`: with registers a class token holds its position in itself."""
  row = arrays.get("pos_embed")
  if row is None or "cls_token" not in arrays or "reg_token" not in arrays:
    return arrays
  return arrays | {"cls_token": arrays["cls_token"] + row[:, :1], "pos_embed": row[:, 1:]}


def last_norm(config) -> dict[str, np.ndarray]:
  """Makes ConvNeXt's norm after the pooling, which ours does not have, as it starts."""
  width = config.parts.encoder.widths[-1]
  one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
  return {"head.norm.weight": one, "head.norm.bias": zero}


HEADS = {r"(fc_norm|head|head_dist|fc)\..*": "a head of fine-tuning that nothing here has"}
DERIVED = "computed from the window's size"
COUNTED = {r".*\.num_batches_tracked": "a count that nothing uses"}

LAYOUTS = (
  base.Layout(
    "timm",
    "vit",
    VIT,
    read,
    hf.fits(
      class_tokens=lambda k: k < 2,
      pre_norm=hf.ANY,
      registers=hf.ANY,
      layer_scale=hf.ANY,
      norm=lambda x: x != "plain",
    ),
    timm_configs.vit,
    first=add_class_row,
    last=fold_class_row,
    head="Classifier",
    left=HEADS,
    fused=True,
    facts=lambda has: dict(antialias=True),
  ),
  base.Layout(
    "timm",
    "swin",
    swin("", 0) + FC,
    conv.swin,
    conv.is_a("Swin"),
    timm_configs.swin,
    left={r".*\.(relative_position_index|attn_mask)": DERIVED},
    aliases=((r"^head\.(weight|bias)$", r"head.fc.\1"),),
    head="Classifier",
    licence="MIT (microsoft/Swin-Transformer)",
  ),
  base.Layout(
    "timm",
    "resnet",
    RESNET,
    conv.resnet,
    conv.is_a("ResNet"),
    timm_configs.resnet,
    left=COUNTED,
    head="Classifier",
  ),
  base.Layout(
    "timm",
    "convnext",
    CONVNEXT,
    conv.convnext,
    conv.is_a("ConvNeXt"),
    timm_configs.convnext,
    made=last_norm,
    head="Classifier",
  ),
)
