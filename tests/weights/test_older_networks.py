"""Networks as files of the first edition say them, read as today's."""

import json

import pytest

from mim_jax import config as config_lib
from mim_jax import encoders, layers, predictors
from mim_jax.config import part
from mim_jax.methods import hpm, multimae

OLD_VIT = dict(
  part="mim_jax.encoders.vit.ViT",
  depth=2,
  heads=2,
  mlp_ratio=4.0,
  class_tokens=1,
  hidden="drop",
  kernels="xavier",
  positions="sincos",
  relative=False,
  table=None,
  antialias=False,
  stretch=0.0,
  blank=False,
  norm="affine",
)
DECODER = dict(width=8, depth=1, heads=2, target_width=4)
STACK = part(layers.Stack, depth=2, heads=2)
SMALL = part(layers.Stack, depth=1, heads=2)
CASES = {
  "mae": (OLD_VIT, part(encoders.ViT, stack=STACK)),
  "beit": (
    OLD_VIT | dict(hidden="token", positions="none", relative=True, kernels="cut", key_bias=False),
    part(
      encoders.ViT,
      stack=part(layers.Stack, depth=2, heads=2, kernel_init="trunc_normal", key_bias=False),
      positions=part(layers.NoPositions),
      relative=part(layers.RelativeTable),
      masking=part(layers.Replace),
    ),
  ),
  "ibot": (
    OLD_VIT | dict(hidden="token", positions="learned", table=(4, 4), stretch=0.1, blank=True),
    part(
      encoders.ViT,
      stack=STACK,
      positions=part(layers.Learned, grid=(4, 4), grid_offset=0.1),
      masking=part(layers.Replace, init="zeros"),
    ),
  ),
  "a table for each block": (
    OLD_VIT | dict(hidden="token", relative="each"),
    part(
      encoders.ViT,
      stack=STACK,
      relative=part(layers.RelativeTable, each=True),
      masking=part(layers.Replace),
    ),
  ),
  "maskalign": (
    OLD_VIT | dict(norm="plain"),
    part(encoders.ViT, stack=STACK, norm="plain", record=("unnormed",)),
  ),
  "capi": (
    dict(part="mim_jax.encoders.rotary.RotaryViT", depth=2, heads=2, pairing="coupled"),
    part(encoders.RopeViT, stack=part(layers.RopeStack, depth=2, heads=2, layout="coupled")),
  ),
  "capi's predictor": (
    dict(part="mim_jax.predictors.rotary.RotaryCross", depth=2, heads=2, cycles=(1e-3, 5.0)),
    part(
      predictors.CrossAttentionDecoder,
      stack=part(layers.RopeStack, depth=2, heads=2, freq_range=(1e-3, 5.0)),
    ),
  ),
  "videomae's predictor": (
    dict(part="mim_jax.predictors.transformer.Transformer", plain=True, **DECODER),
    part(predictors.Transformer, width=8, target_width=4, stack=SMALL, bias=False),
  ),
  "hpm": (
    dict(part="mim_jax.predictors.ranked.Ranked", **DECODER),
    part(hpm.LossPredictingDecoder, width=8, target_width=4, stack=SMALL),
  ),
  "multimae": (
    dict(part="mim_jax.predictors.signals.SignalTransformer", **DECODER),
    part(
      multimae.MultimodalDecoder,
      width=8,
      target_width=4,
      stack=part(layers.Stack, depth=1, heads=2, kernel_init="xavier_per_projection"),
    ),
  ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_older_node_is_the_same_network(case):
  old, new = CASES[case]
  found = config_lib.from_json(json.dumps(dict(parts=old))).parts
  assert config_lib.build(found) == config_lib.build(new)
  again = config_lib.from_json(config_lib.to_json(found))
  assert config_lib.build(again) == config_lib.build(new)  # and read again, it stays what it is
