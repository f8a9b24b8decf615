"""The networks that tests/parity/test_transformers.py compares: a name, theirs, and the forwards."""

import dataclasses
from collections.abc import Callable

import forwards as go
import transformers
from forwards import PATCH, SIDE, N

TINY = dict(
  hidden_size=24,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=48,
  image_size=SIDE,
  patch_size=PATCH,
  hidden_dropout_prob=0.0,
  attention_probs_dropout_prob=0.0,
  attn_implementation="eager",
)
DECODER = dict(
  decoder_hidden_size=16,
  decoder_num_hidden_layers=1,
  decoder_num_attention_heads=2,
  decoder_intermediate_size=32,
)
LABELLED = dict(num_labels=7)


@dataclasses.dataclass
class Case:
  """A model there, its forward there, and ours."""

  model: Callable
  theirs: Callable  # (model, images [b c h w], hidden [b n]) -> (list of outputs, loss)
  ours: Callable  # (parts, images [b h w c], hidden) -> (list of outputs, loss)
  start: Callable = lambda model: None


def t(kind, config, **settings):
  """A maker of one of their models."""
  return lambda: getattr(transformers, kind)(getattr(transformers, config)(**settings))


def mae_positions(model):
  """Their own sine-cosine positions, which building a model anew leaves at zero."""
  for thing in (*model.modules(), *model.parameters()):
    thing._is_hf_initialized = False
  model.vit.embeddings.initialize_weights()
  model.decoder.initialize_weights(N)


SWIN = dict(
  image_size=SIDE,
  patch_size=4,
  embed_dim=12,
  depths=[2, 2],
  num_heads=[2, 4],
  window_size=4,
  drop_path_rate=0.0,
  attn_implementation="eager",
)


CASES = {
  "mae": Case(
    t("ViTMAEForPreTraining", "ViTMAEConfig", **TINY, **DECODER, norm_pix_loss=True),
    go.their_mae,
    go.our_mae,
    mae_positions,
  ),
  "vit": Case(t("ViTModel", "ViTConfig", **TINY), go.their_encoder, go.our_encoder),
  "simmim vit": Case(
    t("ViTForMaskedImageModeling", "ViTConfig", **TINY, encoder_stride=PATCH),
    go.their_simmim,
    go.our_simmim,
  ),
  "beit": Case(
    t(
      "BeitForMaskedImageModeling",
      "BeitConfig",
      **TINY,
      vocab_size=11,
      use_mask_token=True,
      use_shared_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    go.their_beit,
    go.our_beit,
  ),
  "beit, pooled": Case(
    t(
      "BeitModel",
      "BeitConfig",
      **TINY,
      use_mask_token=True,
      use_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    go.their_masked_encoder,
    go.our_raw_masked_encoder,
  ),
  "ijepa": Case(t("IJepaModel", "IJepaConfig", **TINY), go.their_encoder, go.our_encoder),
  "data2vec": Case(
    t(
      "Data2VecVisionModel",
      "Data2VecVisionConfig",
      **TINY,
      use_mask_token=True,
      use_shared_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    go.their_masked_encoder,
    go.our_raw_masked_encoder,
  ),
  "dinov2": Case(
    t("Dinov2Model", "Dinov2Config", **TINY, mlp_ratio=2),
    go.their_masked_encoder,
    go.our_masked_encoder,
  ),
  "dinov2, swiglu": Case(
    t("Dinov2Model", "Dinov2Config", **TINY, use_swiglu_ffn=True),
    go.their_masked_encoder,
    go.our_masked_encoder,
  ),
  "dinov2, registers": Case(
    t("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", **TINY, num_register_tokens=3),
    go.their_masked_encoder,
    go.our_masked_encoder,
  ),
  "clip": Case(
    t(
      "CLIPVisionModel",
      "CLIPVisionConfig",
      **{k: v for k, v in TINY.items() if "prob" not in k},
    ),
    go.their_clip,
    go.our_clip,
  ),
  "videomae": Case(
    t(
      "VideoMAEForPreTraining",
      "VideoMAEConfig",
      **TINY,
      **DECODER,
      num_frames=4,
      tubelet_size=2,
      norm_pix_loss=True,
      use_mean_pooling=False,
    ),
    go.their_videomae,
    go.our_videomae,
  ),
  "swin": Case(t("SwinModel", "SwinConfig", **SWIN), go.their_encoder, go.our_encoder),
  "simmim swin": Case(
    t("SwinForMaskedImageModeling", "SwinConfig", **SWIN, encoder_stride=8),
    go.their_swin_simmim,
    go.our_swin_simmim,
  ),
  "resnet": Case(
    t("ResNetModel", "ResNetConfig", embedding_size=8, hidden_sizes=[32, 64], depths=[1, 2]),
    go.their_maps,
    go.our_encoder,
  ),
  "convnext": Case(
    t("ConvNextModel", "ConvNextConfig", hidden_sizes=[8, 16], depths=[1, 2], num_stages=2),
    go.their_maps,
    go.our_encoder,
  ),
  "vit, labelled": Case(
    t("ViTForImageClassification", "ViTConfig", **TINY, **LABELLED), go.their_scores, go.our_scores
  ),
  "beit, labelled": Case(
    t(
      "BeitForImageClassification",
      "BeitConfig",
      **TINY,
      **LABELLED,
      use_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    go.their_scores,
    go.our_scores,
  ),
  "data2vec, labelled": Case(
    t(
      "Data2VecVisionForImageClassification",
      "Data2VecVisionConfig",
      **TINY,
      **LABELLED,
      use_shared_relative_position_bias=True,
      drop_path_rate=0.0,
    ),
    go.their_scores,
    go.our_scores,
  ),
  "dinov2, labelled": Case(
    t("Dinov2ForImageClassification", "Dinov2Config", **TINY, **LABELLED, mlp_ratio=2),
    go.their_scores,
    go.our_scores,
  ),
  "dinov2, registers, labelled": Case(
    t(
      "Dinov2WithRegistersForImageClassification",
      "Dinov2WithRegistersConfig",
      **TINY,
      **LABELLED,
      mlp_ratio=2,
      num_register_tokens=3,
    ),
    go.their_scores,
    go.our_scores,
  ),
  "videomae, labelled": Case(
    t(
      "VideoMAEForVideoClassification",
      "VideoMAEConfig",
      **TINY,
      num_labels=9,
      num_frames=4,
      tubelet_size=2,
    ),
    go.their_clip_scores,
    go.our_clip_scores,
  ),
  "swin, labelled": Case(
    t("SwinForImageClassification", "SwinConfig", **SWIN, **LABELLED),
    go.their_scores,
    go.our_scores,
  ),
  "convnext, labelled": Case(
    t(
      "ConvNextForImageClassification",
      "ConvNextConfig",
      **LABELLED,
      hidden_sizes=[8, 16],
      depths=[1, 2],
      num_stages=2,
    ),
    go.their_scores,
    go.our_scores,
  ),
  "clip, projected": Case(
    t(
      "CLIPVisionModelWithProjection",
      "CLIPVisionConfig",
      **{k: v for k, v in TINY.items() if "prob" not in k},
      projection_dim=7,
    ),
    go.their_embedding,
    go.our_embedding,
  ),
}
