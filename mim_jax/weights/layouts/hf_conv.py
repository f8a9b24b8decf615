"""Swin, ResNet and ConvNeXt as Hugging Face transformers stores them."""

from typing import Any

import numpy as np

from mim_jax.weights.layouts import base, conv

SWIN = """
tokenizer/embed/kernel    | swin.embeddings.patch_embeddings.projection.weight | patches
tokenizer/embed/bias      | swin.embeddings.patch_embeddings.projection.bias
encoder/patch_norm/scale  | swin.embeddings.norm.weight
encoder/patch_norm/bias   | swin.embeddings.norm.bias
encoder/mask_token        | swin.embeddings.mask_token
@/norm1/scale             | %.layernorm_before.weight
@/norm1/bias              | %.layernorm_before.bias
@/relative_table          | %.attention.self.relative_position_bias_table
@/attention/qkv/kernel    | %.attention.self.{query,key,value}.weight | linear
@/attention/qkv/bias      | %.attention.self.{query,key,value}.bias
@/attention/out/kernel    | %.attention.output.dense.weight | linear
@/attention/out/bias      | %.attention.output.dense.bias
@/norm2/scale             | %.layernorm_after.weight
@/norm2/bias              | %.layernorm_after.bias
@/mlp/up/kernel           | %.intermediate.dense.weight | linear
@/mlp/up/bias             | %.intermediate.dense.bias
@/mlp/down/kernel         | %.output.dense.weight | linear
@/mlp/down/bias           | %.output.dense.bias
encoder/merge_#/norm/scale     | swin.encoder.layers.#-1.downsample.norm.weight
encoder/merge_#/norm/bias      | swin.encoder.layers.#-1.downsample.norm.bias
encoder/merge_#/reduce/kernel  | swin.encoder.layers.#-1.downsample.reduction.weight | linear
encoder/norm/scale        | swin.layernorm.weight
encoder/norm/bias         | swin.layernorm.bias
predictor/head/kernel     | decoder.0.weight | shuffled 1x1
predictor/head/bias       | decoder.0.bias | shuffled
head/classifier/kernel    | classifier.weight | linear
head/classifier/bias      | classifier.bias
"""
CONV_NORM = """
@/CONV/kernel             | %.convolution.weight | conv
@/NORM/scale              | %.normalization.weight
@/NORM/bias               | %.normalization.bias
batch_stats/@/NORM/mean   | %.normalization.running_mean
batch_stats/@/NORM/variance | %.normalization.running_var
"""
CONVNEXT = """
encoder/stem/kernel       | convnext.embeddings.patch_embeddings.weight | conv
encoder/stem/bias         | convnext.embeddings.patch_embeddings.bias
encoder/stem_norm/norm/scale    | convnext.embeddings.layernorm.weight
encoder/stem_norm/norm/bias     | convnext.embeddings.layernorm.bias
encoder/stage_#_norm/norm/scale | convnext.encoder.stages.#.downsampling_layer.0.weight
encoder/stage_#_norm/norm/bias  | convnext.encoder.stages.#.downsampling_layer.0.bias
encoder/stage_#/kernel    | convnext.encoder.stages.#.downsampling_layer.1.weight | conv
encoder/stage_#/bias      | convnext.encoder.stages.#.downsampling_layer.1.bias
@/depthwise/kernel        | %.dwconv.weight | conv
@/depthwise/bias          | %.dwconv.bias
@/norm/norm/scale         | %.layernorm.weight
@/norm/norm/bias          | %.layernorm.bias
@/up/kernel               | %.pwconv1.weight | linear
@/up/bias                 | %.pwconv1.bias
@/down/kernel             | %.pwconv2.weight | linear
@/down/bias               | %.pwconv2.bias
@/residual/scale          | %.layer_scale_parameter
head/norm/scale           | convnext.layernorm.weight
head/norm/bias            | convnext.layernorm.bias
head/classifier/kernel    | classifier.weight | linear
head/classifier/bias      | classifier.bias
"""
BLOCK = "encoder/stage_#_block_#"


def _step(ours: str, conv: str, norm: str, theirs: str) -> str:
  return base.blocks(CONV_NORM, ours, theirs).replace("CONV", conv).replace("NORM", norm)


RESNET = _step("encoder", "stem", "stem_norm", "resnet.embedder.embedder") + "".join(
  _step(BLOCK, f"conv{i}", f"norm{i}", f"resnet.encoder.stages.#.layers.#.{name}")
  for i, name in enumerate(("shortcut", "layer.0", "layer.1", "layer.2"))
)


RESNET += """
head/classifier/kernel    | classifier.1.weight | linear
head/classifier/bias      | classifier.1.bias
"""


def write_swin(config) -> dict[str, Any]:
  """Makes config.json of a Swin transformer."""
  ours, view = config.parts.encoder, config.data.view
  return dict(
    image_size=view.size[0],
    patch_size=config.parts.tokenizer.patch,
    num_channels=len(view.mean),
    embed_dim=config.parts.tokenizer.width,
    depths=list(ours.depths),
    num_heads=list(ours.heads),
    window_size=ours.window,
    mlp_ratio=ours.mlp_ratio,
    drop_path_rate=ours.drop_path,
    layer_norm_eps=1e-5,
    encoder_stride=config.parts.tokenizer.patch << (len(ours.depths) - 1),
  )


def write_resnet(config) -> dict[str, Any]:
  """Makes config.json of a ResNet."""
  ours, view = config.parts.encoder, config.data.view
  return dict(
    num_channels=len(view.mean),
    embedding_size=ours.width,
    hidden_sizes=[4 * ours.width << i for i in range(len(ours.depths))],
    depths=list(ours.depths),
    layer_type="bottleneck",
    hidden_act="relu",
    downsample_in_first_stage=False,
    downsample_in_bottleneck=False,
  )


def write_convnext(config) -> dict[str, Any]:
  """Makes config.json of a ConvNeXt."""
  ours, view = config.parts.encoder, config.data.view
  return dict(
    num_channels=len(view.mean),
    patch_size=ours.patch >> (len(ours.depths) - 1),
    num_stages=len(ours.depths),
    hidden_sizes=list(ours.widths),
    depths=list(ours.depths),
    hidden_act="gelu",
    layer_scale_init_value=ours.layer_scale,
    drop_path_rate=ours.drop_path,
    image_size=view.size[0],
  )


def last_norm(config) -> dict[str, np.ndarray]:
  """Makes the norm after the pooling of ConvNeXt, which ours does not have: without effect."""
  width = config.parts.encoder.widths[-1]
  one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
  return {"convnext.layernorm.weight": one, "convnext.layernorm.bias": zero}


LAYOUTS = (
  base.Layout(
    "hf",
    "swin",
    base.blocks(SWIN, BLOCK, "swin.encoder.layers.#.blocks.#"),
    conv.swin,
    conv.is_a("Swin"),
    write_swin,
    prefix="swin.",
    predictor="Linear",
    classes=("SwinModel", "SwinForMaskedImageModeling"),
    left={r".*\.relative_position_index": "computed from the window's size"},
    head="Classifier",
    pool="mean",
    labelled="SwinForImageClassification",
    licence="MIT (microsoft/Swin-Transformer, microsoft/SimMIM)",
  ),
  base.Layout(
    "hf",
    "resnet",
    RESNET,
    conv.resnet,
    conv.is_a("ResNet"),
    write_resnet,
    prefix="resnet.",
    classes=("ResNetModel", ""),
    processor="ConvNextImageProcessor",
    left={r".*\.num_batches_tracked": "a count that nothing uses"},
    head="Classifier",
    pool="mean",
    labelled="ResNetForImageClassification",
  ),
  base.Layout(
    "hf",
    "convnext",
    base.blocks(CONVNEXT, BLOCK, "convnext.encoder.stages.#.layers.#"),
    conv.convnext,
    conv.is_a("ConvNeXt"),
    write_convnext,
    prefix="convnext.",
    classes=("ConvNextModel", ""),
    processor="ConvNextImageProcessor",
    made=last_norm,
    head="Classifier",
    pool="mean",
    labelled="ConvNextForImageClassification",
  ),
)
