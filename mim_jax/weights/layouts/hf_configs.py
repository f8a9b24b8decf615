"""config.json of Hugging Face transformers: read for our parts, and written from them."""

from typing import Any

from mim_jax.errors import unknown
from mim_jax.weights import parts as parts_lib
from mim_jax.weights.layouts import base

ACTIVATIONS = {
  "gelu": "gelu",
  "quick_gelu": "quick_gelu",
  "gelu_new": "gelu_tanh",
  "gelu_pytorch_tanh": "gelu_tanh",
}
SWIGLU = "swiglu"

LAST_EPSILON = {
  "videomae": 1e-5
}  # of a decoder's last norm, where the code has another than config.json


def facts(config: dict[str, Any], source: base.Source) -> dict[str, Any]:
  """Reads what no array shows: heads, epsilon, activation."""
  act = config.get("hidden_act", "gelu")
  if act not in ACTIVATIONS:
    raise unknown("config.json: hidden_act", act, ACTIVATIONS)
  return dict(
    heads=config.get("num_attention_heads", source.options.get("heads")),
    decoder_heads=config.get("decoder_num_attention_heads"),
    epsilon=config.get("layer_norm_eps", 1e-6),
    activation=ACTIVATIONS[act],
    mlp_ratio=float(config.get("mlp_ratio", 4)),
    last_epsilon=LAST_EPSILON.get(str(config.get("model_type"))),
    head_epsilon=LAST_EPSILON.get(str(config.get("model_type")))
    or config.get("layer_norm_eps", 1e-6),
    antialias=config.get("model_type") == "dinov2_with_registers",
  )


def encoder(config) -> dict[str, Any]:
  """Makes the settings that all vision transformers share there."""
  parts, size, channels = config.parts, config.data.view.size, len(config.data.view.mean)
  ours, width = parts_lib.settings(parts.encoder), parts.tokenizer.width
  activation = "gelu" if ours.activation == SWIGLU else ours.activation
  acts = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
  return dict(
    hidden_size=width,
    num_hidden_layers=ours.depth,
    num_attention_heads=ours.heads,
    intermediate_size=int(width * ours.mlp_ratio),
    hidden_act=acts[activation],
    layer_norm_eps=ours.epsilon,
    qkv_bias=ours.qkv_bias,
    image_size=size[0] if size[0] == size[1] else list(size),
    patch_size=parts.tokenizer.patch,
    num_channels=channels,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    torch_dtype="float32",
  )


def decoder(config) -> dict[str, Any]:
  """Makes the settings of MAE's and VideoMAE's decoders; {} without one."""
  if "predictor" not in config.parts:
    return {}
  ours, target = config.parts.predictor, config.get("objective", {}).get("target", {})
  return dict(
    decoder_hidden_size=ours.width,
    decoder_num_hidden_layers=ours.stack.depth,
    decoder_num_attention_heads=ours.stack.heads,
    decoder_intermediate_size=int(ours.width * ours.stack.mlp_ratio),
    norm_pix_loss=target.get("normalize", True),
  )


def vit_mae(config) -> dict[str, Any]:
  """Makes config.json of ViTMAE."""
  return encoder(config) | decoder(config)


def vit(config) -> dict[str, Any]:
  """Makes config.json of ViT and I-JEPA."""
  return encoder(config) | dict(encoder_stride=config.parts.tokenizer.patch)


def beit(config) -> dict[str, Any]:
  """Makes config.json of BEiT and data2vec-vision."""
  parts, ours = config.parts, parts_lib.settings(config.parts.encoder)
  scale = ours.layer_scale
  head = dict(vocab_size=parts.predictor.target_width) if "predictor" in parts else {}
  return encoder(config) | dict(
    use_mask_token=ours.masking == "replace",
    use_absolute_position_embeddings=ours.positions != "none",
    use_shared_relative_position_bias=ours.relative == "shared",
    use_relative_position_bias=ours.relative == "each",
    use_mean_pooling=True,
    layer_scale_init_value=0.0 if scale is None else scale,
    drop_path_rate=ours.drop_path,
    **head,
  )


def videomae(config) -> dict[str, Any]:
  """Makes config.json of VideoMAE; frames of a clip as in the config's data, or 16."""
  sample = config.data.get("train", {}).get("sample", config.data)
  cube = dict(tubelet_size=config.parts.tokenizer.tubelet, num_frames=sample.get("frames", 16))
  pooled = dict(use_mean_pooling=config.parts.encoder.norm == "none")
  return encoder(config) | decoder(config) | cube | pooled


def dinov2(config) -> dict[str, Any]:
  """Makes config.json of DINOv2, with and without registers."""
  ours = parts_lib.settings(config.parts.encoder)
  made = encoder(config) | dict(
    mlp_ratio=int(ours.mlp_ratio),
    use_swiglu_ffn=ours.activation == SWIGLU,
    layerscale_value=1.0 if ours.layer_scale is None else ours.layer_scale,
    use_mask_token=ours.masking == "replace",
    drop_path_rate=ours.drop_path,
  )
  return made | (dict(num_register_tokens=ours.registers) if ours.registers else {})


def clip(config) -> dict[str, Any]:
  """Makes config.json of CLIP's image side."""
  head = config.parts.get("head")
  return encoder(config) | (dict(projection_dim=head.count) if head else {})
