"""Networks as Hugging Face transformers publishes them."""

import functools
from typing import Any

from mim_jax.weights import parts as parts_lib
from mim_jax.weights.layouts import base, hf_configs, hf_vit

POOLER = {r"(.*\.)?pooler\.dense\..*": "a layer that most pre-training leaves as it was drawn"}
CLASSIFIER = {r"classifier\..*": "of fine-tuning, where the published class has none"}
TEXTS_WHY = "the side of the texts"
TEXTS = {r"(text_model|text_projection)\..*|logit_scale": TEXTS_WHY}
CLIP_VIEW = dict(  # openai/CLIP, clip/clip.py: resize to the side of the crop
  mean=(0.48145466, 0.4578275, 0.40821073),
  std=(0.26862954, 0.26130258, 0.27577711),
  crop_pct=1.0,
)


def read(layout: base.Layout, source: base.Source):
  """Reads our parts, heads and so on as config.json says them."""
  config = source.config.get("vision_config", source.config)
  return base.vit(layout, source, hf_configs.facts(config, source))


def is_vit(parts, *, tokenizer="ImagePatches", **wanted) -> bool:
  """Tells whether the encoder is a ViT with these settings; a callable is asked about one."""
  encoder = parts.encoder
  known = vars(parts_lib.settings(encoder))
  if not (encoder.part.endswith(".ViT") and parts.tokenizer.part.endswith(f".{tokenizer}")):
    return False
  return all(
    test(known[name]) if callable(test) else known[name] == test
    for name, test in (PLAIN | wanted).items()
  )


PLAIN: dict[str, Any] = dict(
  class_tokens=1,
  registers=0,
  pre_norm=False,
  relative=None,
  layer_scale=None,
  norm="affine",
  activation=lambda x: x != hf_configs.SWIGLU,
  positions=lambda x: x != "none",
)
ANY = lambda x: True  # noqa: E731


def fits(**wanted):
  """Makes a Layout's `fits`, see is_vit."""
  return functools.partial(is_vit, **wanted)


def is_mae(parts) -> bool:
  """Tells whether it is MAE with its decoder; positions are arrays there, whatever they hold."""
  decoder = "predictor" in parts and parts.predictor.part.endswith(".Transformer")
  return decoder and is_vit(parts, masking="drop", positions=lambda x: x != "none")


def _layout(kind: str, classes: str, table: str, fits, write, **more) -> base.Layout:
  """Makes a Layout of `classes`, "Encoder WithPredictor".

  `labelled`: with a head, of what `pool` says.
  """
  names = classes.split()
  more.setdefault("left", POOLER)
  if "labelled" in more:
    more["head"] = "Classifier"
  return base.Layout("hf", kind, table, read, fits, write, classes=(names[0], names[-1]), **more)


BEIT_LIKE = dict(
  relative=ANY, layer_scale=ANY, key_bias=False, norm=lambda x: x != "plain", positions=ANY
)


def dinov2(kind: str, name: str, **wanted) -> list[base.Layout]:
  """Makes DINOv2's layouts, with the usual and with the gated mlp (the giant)."""
  wanted["layer_scale"] = lambda x: x is not None
  gated = hf_configs.SWIGLU
  tables = {kind: hf_vit.DINOV2, f"{kind} {gated}": hf_vit.DINOV2_GATED}
  return [
    _layout(
      variant,
      name,
      table.replace("dinov2.", f"{kind}."),
      fits(**wanted, activation=lambda x, own=gated in variant: (x == gated) == own),
      hf_configs.dinov2,
      labelled=name.replace("Model", "ForImageClassification"),
      pool="both",
      prefix=f"{kind}.",
      licence="Apache-2.0 (facebookresearch/dinov2)",
    )
    for variant, table in tables.items()
  ]


LAYOUTS = (
  _layout(
    "vit_mae",
    "ViTMAEModel ViTMAEForPreTraining",
    hf_vit.VIT_MAE,
    is_mae,
    hf_configs.vit_mae,
    left=POOLER | CLASSIFIER,
    prefix="vit.",
    predictor="Transformer",
    licence="CC BY-NC 4.0, not for commercial use (facebookresearch/mae)",
    aliases=((r"decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),),
  ),
  _layout(
    "videomae",
    "VideoMAEModel VideoMAEForPreTraining",
    hf_vit.VIDEOMAE,
    fits(tokenizer="VideoCubes", class_tokens=0, norm=ANY),
    hf_configs.videomae,
    labelled="VideoMAEForVideoClassification",
    pool="mean",
    prefix="videomae.",
    predictor="Transformer",
    licence="CC BY-NC 4.0, not for commercial use (MCG-NJU/VideoMAE)",
  ),
  _layout(
    "clip_vision_model",
    "CLIPVisionModel",
    hf_vit.CLIP,
    fits(pre_norm=True),
    hf_configs.clip,
    labelled="CLIPVisionModelWithProjection",
    pool="class",
    left=TEXTS,
    prefix="vision_model.",
    view=CLIP_VIEW,
    licence="MIT (openai/CLIP)",
  ),
  *dinov2("dinov2", "Dinov2Model"),
  *dinov2("dinov2_with_registers", "Dinov2WithRegistersModel", registers=lambda k: k > 0),
  _layout(
    "beit",
    "BeitModel BeitForMaskedImageModeling",
    hf_vit.BEIT,
    fits(**BEIT_LIKE),
    hf_configs.beit,
    left=POOLER | CLASSIFIER,
    prefix="beit.",
    predictor="Linear",
    licence="MIT (microsoft/unilm)",
  ),
  _layout(
    "data2vec-vision",
    "Data2VecVisionModel",
    hf_vit.DATA2VEC,
    fits(**BEIT_LIKE),
    hf_configs.beit,
    labelled="Data2VecVisionForImageClassification",
    pool="mean",
    prefix="data2vec_vision.",
    licence="Apache-2.0 (facebook/data2vec-vision-base)",
  ),
  _layout(
    "ijepa",
    "IJepaModel",
    hf_vit.IJEPA,
    fits(class_tokens=0),
    hf_configs.vit,
    labelled="IJepaForImageClassification",
    pool="mean",
    prefix="ijepa.",
    licence="CC BY-NC 4.0, not for commercial use (facebookresearch/ijepa)",
  ),
  _layout(
    "beit pooled",
    "BeitModel",
    hf_vit.BEIT_POOLED,
    fits(**BEIT_LIKE),
    hf_configs.beit,
    labelled="BeitForImageClassification",
    pool="mean",
    prefix="beit.",
    licence="MIT (microsoft/unilm)",
  ),
  _layout(
    "vit",
    "ViTModel ViTForMaskedImageModeling",
    hf_vit.VIT,
    fits(),
    hf_configs.vit,
    labelled="ViTForImageClassification",
    pool="class",
    prefix="vit.",
    predictor="Linear",
    fused=True,
  ),
)
