"""ViT, Swin, ResNet and ConvNeXt as timm stores them; others write their ViTs almost alike."""

import math
from typing import Any

import numpy as np

from mim_jax.weights import table
from mim_jax.weights.layouts import base, conv, hf

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
  """The rows of a ViT whose names begin with `prefix`."""
  rows = base.blocks(block, "encoder/stack/block_#", f"{prefix}{path}")
  return rows + rest.replace("%", prefix)


VIT = encoder(BLOCK + SCALES, STEM + MORE)

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
encoder/mask_token       | %mask_token
encoder/merge_#/norm/scale    | %layers.OTHER.downsample.norm.weight
encoder/merge_#/norm/bias     | %layers.OTHER.downsample.norm.bias
encoder/merge_#/reduce/kernel | %layers.OTHER.downsample.reduction.weight | linear
"""
)


def swin(prefix: str, stage: str) -> str:
  """The rows of a Swin transformer; `stage` is which one a merge belongs to, "#" or "#-1"."""
  rows = base.blocks(SWIN_BLOCK, "encoder/stage_#_block_#", f"{prefix}layers.#.blocks.#")
  return rows + SWIN_STEM.replace("%", prefix).replace("OTHER", stage)


CONV_NORM = """
@/CONV/kernel               | KERNEL.weight | conv
@/NORM/scale                | BATCH.weight
@/NORM/bias                 | BATCH.bias
batch_stats/@/NORM/mean     | BATCH.running_mean
batch_stats/@/NORM/variance | BATCH.running_var
"""


def _step(ours: str, names: str) -> str:
  """`names`: ours and theirs of a convolution, ours and theirs of its norm."""
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


def read(layout: base.Layout, source: base.Source):
  """Our parts for a ViT; its name in config.json says whether its GELU is CLIP's."""
  _add_class_row(source.arrays)
  has = table.look(layout.table, source.shapes())
  width = has["tokenizer/embed/kernel"][0]
  quick = "quickgelu" in source.config.get("architecture", "")
  facts: dict[str, Any] = dict(
    heads=base.heads_of(source, width),
    epsilon=1e-5 if "encoder/pre_norm/scale" in has else 1e-6,
    activation="quick_gelu" if quick else "gelu",
  ) | layout.facts(has)
  if "predictor/embed/kernel" in has:
    inner = has["predictor/embed/kernel"][0]
    facts["decoder_heads"] = base.heads_of(source, inner, "decoder_heads")
  return base.vit(layout, source, facts)


def _add_class_row(arrays: dict[str, np.ndarray]) -> None:
  """Positions of patches alone, as of timm's networks with registers, get a zero for the class."""
  found = arrays.get("pos_embed")
  if (
    found is not None
    and "cls_token" in arrays
    and math.isqrt(found.shape[1]) ** 2 == found.shape[1]
  ):
    arrays["pos_embed"] = np.concatenate([np.zeros_like(found[:, :1]), found], 1)


def describe(config) -> dict[str, Any]:
  """config.json, with the name of timm's model where ours has the shape of one."""
  view, parts = config.data.view, config.parts
  seen = dict(mean=list(view.mean), std=list(view.std), input_size=[len(view.mean), *view.size])
  return dict(
    architecture=_architecture(parts, view.size[0]),
    num_classes=0,
    pretrained_cfg=dict(interpolation="bicubic", crop_pct=0.875, num_classes=0, **seen),
  )


def _architecture(parts, side: int) -> str:
  if not parts.encoder.part.endswith(".ViT"):
    return ""
  names = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
  size = names.get(parts.tokenizer.width)
  return f"vit_{size}_patch{parts.tokenizer.patch}_{side}" if size else ""


HEADS = (r"(fc_norm|head|head_dist|fc)\..*",)

LAYOUTS = (
  base.Layout(
    "timm",
    "vit",
    VIT,
    read,
    hf.fits(pre_norm=hf.ANY, registers=hf.ANY, layer_scale=hf.ANY),
    describe,
    left=HEADS,
    fused=True,
    facts=lambda has: dict(antialias=True),
  ),
  base.Layout(
    "timm",
    "swin",
    swin("", "#"),
    conv.swin,
    conv.is_a("Swin"),
    describe,
    left=(r"head\..*", r".*\.(relative_position_index|attn_mask)"),
    licence="MIT (microsoft/Swin-Transformer)",
  ),
  base.Layout(
    "timm",
    "resnet",
    RESNET,
    conv.resnet,
    conv.is_a("ResNet"),
    describe,
    left=(*HEADS, r".*\.num_batches_tracked"),
  ),
  base.Layout(
    "timm",
    "convnext",
    CONVNEXT,
    conv.convnext,
    conv.is_a("ConvNeXt"),
    describe,
    left=HEADS,
  ),
)
