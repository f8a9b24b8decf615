"""Our parts for hierarchical networks, from what the arrays show."""

import math
import re
from typing import Any

import ml_collections

from mim_jax import encoders, predictors, tokenizers
from mim_jax.config import part
from mim_jax.weights import table
from mim_jax.weights.layouts import base


def depths(has: dict[str, Any]) -> tuple[int, ...]:
  """Counts the blocks of each stage."""
  found = {m.groups() for name in has if (m := re.search(r"stage_(\d+)_block_(\d+)/", name))}
  stages = 1 + max(int(stage) for stage, _ in found)
  return tuple(sum(int(stage) == i for stage, _ in found) for i in range(stages))


def swin(layout: base.Layout, source: base.Source) -> ml_collections.ConfigDict:
  """Makes our parts for a Swin transformer; heads and window come from its tables of positions."""
  has = table.look(layout.table, source.shapes())
  width, channels, patch, _ = has["tokenizer/embed/kernel"]
  deep = depths(has)
  rows = [has[f"encoder/stage_{i}_block_00/relative_table"] for i in range(len(deep))]
  up = has["encoder/stage_0_block_00/mlp/up/kernel"]
  parts = ml_collections.ConfigDict(
    dict(
      tokenizer=part(tokenizers.ImagePatches, patch=patch, width=width),
      encoder=part(
        encoders.Swin,
        depths=deep,
        heads=tuple(heads for _, heads in rows),
        window=(math.isqrt(rows[0][0]) + 1) // 2,
        mlp_ratio=up[0] / width,
      ),
    )
  )
  if head := base.head_of(layout, has, 1e-5):
    parts.head = head
  if "predictor/head/kernel" in has:
    cell = 1 << (len(deep) - 1)
    parts.predictor = part(predictors.Linear, target_width=patch**2 * channels, cell=cell)
  return parts


def resnet(layout: base.Layout, source: base.Source) -> ml_collections.ConfigDict:
  """Makes our parts for a ResNet of bottleneck blocks."""
  has = table.look(layout.table, source.shapes())
  deep, patch = depths(has), 4
  patch <<= len(deep) - 1
  width = has["encoder/stage_0_block_00/conv1/kernel"][0]
  encoder = part(encoders.ResNet, depths=deep, width=width, patch=patch)
  return _cells(patch, encoder, base.head_of(layout, has, 1e-6))


def convnext(layout: base.Layout, source: base.Source) -> ml_collections.ConfigDict:
  """Makes our parts for a ConvNeXt."""
  has = table.look(layout.table, source.shapes())
  deep = depths(has)
  patch = has["encoder/stem/kernel"][-1] << (len(deep) - 1)
  widths = tuple(has[f"encoder/stage_{i}_block_00/down/kernel"][0] for i in range(len(deep)))
  encoder = part(encoders.ConvNeXt, depths=deep, widths=widths, patch=patch)
  return _cells(patch, encoder, base.head_of(layout, has, 1e-6))


def _cells(patch: int, encoder, head) -> ml_collections.ConfigDict:
  parts = dict(tokenizer=part(tokenizers.Cells, patch=patch), encoder=encoder)
  return ml_collections.ConfigDict(parts | (dict(head=head) if head else {}))


def is_a(name: str):
  """Makes a Layout's `fits`: whether the encoder is of this class."""
  return lambda parts: parts.encoder.part.endswith(f".{name}")
