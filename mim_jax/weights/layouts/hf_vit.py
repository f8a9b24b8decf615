"""Vision transformers as Hugging Face transformers stores them: the tables."""

from mim_jax.weights.layouts import base

NORMS = """
@/norm1/scale          | %.layernorm_before.weight
@/norm1/bias           | %.layernorm_before.bias
@/norm2/scale          | %.layernorm_after.weight
@/norm2/bias           | %.layernorm_after.bias
"""
QKV = """
@/attention/qkv/kernel | %.attention.attention.{query,key,value}.weight | linear
@/attention/qkv/bias   | %.attention.attention.{query,key,value}.bias
"""
OUT = """
@/attention/out/kernel | %.attention.output.dense.weight | linear
@/attention/out/bias   | %.attention.output.dense.bias
"""
MLP = """
@/mlp/up/kernel        | %.intermediate.dense.weight | linear
@/mlp/up/bias          | %.intermediate.dense.bias
@/mlp/down/kernel      | %.output.dense.weight | linear
@/mlp/down/bias        | %.output.dense.bias
"""
BLOCK = NORMS + QKV + OUT + MLP

# Keys have no bias in BEiT, data2vec and VideoMAE. One of ours is left out: the softmax undoes it.
BEIT_BLOCK = (
  NORMS
  + OUT
  + MLP
  + """
@/attention/qkv/kernel | %.attention.attention.{query,key,value}.weight | linear
@/attention/query_bias | %.attention.attention.query.bias
@/attention/value_bias | %.attention.attention.value.bias
@/residual1/scale      | %.lambda_1
@/residual2/scale      | %.lambda_2
"""
)
VIDEO_BLOCK = (
  NORMS
  + OUT
  + MLP
  + """
@/attention/qkv/kernel | %.attention.attention.{query,key,value}.weight | linear
@/attention/query_bias | %.attention.attention.q_bias
@/attention/value_bias | %.attention.attention.v_bias
@/attention/qkv/bias   | %.attention.attention.{q_bias,-,v_bias}
"""
)
DINO_BLOCK = (
  QKV
  + OUT
  + """
@/norm1/scale          | %.norm1.weight
@/norm1/bias           | %.norm1.bias
@/norm2/scale          | %.norm2.weight
@/norm2/bias           | %.norm2.bias
@/residual1/scale      | %.layer_scale1.lambda1
@/residual2/scale      | %.layer_scale2.lambda1
@/mlp/up/kernel        | %.mlp.fc1.weight | linear
@/mlp/up/bias          | %.mlp.fc1.bias
@/mlp/down/kernel      | %.mlp.fc2.weight | linear
@/mlp/down/bias        | %.mlp.fc2.bias
"""
)
CLIP_BLOCK = """
@/norm1/scale          | %.layer_norm1.weight
@/norm1/bias           | %.layer_norm1.bias
@/attention/qkv/kernel | %.self_attn.{q_proj,k_proj,v_proj}.weight | linear
@/attention/qkv/bias   | %.self_attn.{q_proj,k_proj,v_proj}.bias
@/attention/out/kernel | %.self_attn.out_proj.weight | linear
@/attention/out/bias   | %.self_attn.out_proj.bias
@/norm2/scale          | %.layer_norm2.weight
@/norm2/bias           | %.layer_norm2.bias
@/mlp/up/kernel        | %.mlp.fc1.weight | linear
@/mlp/up/bias          | %.mlp.fc1.bias
@/mlp/down/kernel      | %.mlp.fc2.weight | linear
@/mlp/down/bias        | %.mlp.fc2.bias
"""
PATCHES = """
tokenizer/embed/kernel   | %.embeddings.patch_embeddings.projection.weight | patches
tokenizer/embed/bias     | %.embeddings.patch_embeddings.projection.bias
"""
STEM = (
  PATCHES
  + """
encoder/class_token      | %.embeddings.cls_token
encoder/class_positions  | %.embeddings.position_embeddings[a]
encoder/positions_table  | %.embeddings.position_embeddings[b]
"""
)
NORM = """
encoder/norm/scale       | %.layernorm.weight
encoder/norm/bias        | %.layernorm.bias
"""
MASK_TOKEN = """
encoder/mask_token       | %.embeddings.mask_token
"""
ENCODER, LAYER = "encoder/stack/block_#", "%.encoder.layer.#"
DECODER = "predictor/stack/block_#"


def _encoder(block: str, rest: str, prefix: str) -> str:
  return base.blocks(block, ENCODER, LAYER).replace("%", prefix) + rest.replace("%", prefix)


HEAD = """
head/classifier/kernel   | classifier.weight | linear
head/classifier/bias     | classifier.bias
"""
VIT_MAE = (
  _encoder(BLOCK, STEM + NORM, "vit")
  + base.blocks(BLOCK, DECODER, "decoder.decoder_layers.#")
  + """
predictor/embed/kernel     | decoder.decoder_embed.weight | linear
predictor/embed/bias       | decoder.decoder_embed.bias
predictor/mask_token       | decoder.mask_token | deeper
predictor/class_positions  | decoder.decoder_pos_embed[a]
predictor/positions_table  | decoder.decoder_pos_embed[b]
predictor/norm/scale       | decoder.decoder_norm.weight
predictor/norm/bias        | decoder.decoder_norm.bias
predictor/head/kernel      | decoder.decoder_pred.weight | linear
predictor/head/bias        | decoder.decoder_pred.bias
"""
)
PIXELS = """
predictor/head/kernel    | decoder.0.weight | shuffled 1x1
predictor/head/bias      | decoder.0.bias | shuffled
"""
VIT = _encoder(BLOCK, STEM + MASK_TOKEN + NORM, "vit") + PIXELS + HEAD
IJEPA = _encoder(BLOCK, STEM + MASK_TOKEN + NORM, "ijepa") + HEAD
RELATIVE = """
encoder/relative_table   | %.encoder.@
encoder/relative_tables  | %.encoder.layer.*.attention.attention.@
""".replace("@", "relative_position_bias.relative_position_bias_table")
BEIT = (
  _encoder(BEIT_BLOCK, STEM + MASK_TOKEN + RELATIVE, "beit")
  + """
encoder/norm/scale       | layernorm.weight
encoder/norm/bias        | layernorm.bias
predictor/head/kernel    | lm_head.weight | linear
predictor/head/bias      | lm_head.bias
"""
)
POOLED = """
encoder/norm/scale       | %.pooler.layernorm.weight
encoder/norm/bias        | %.pooler.layernorm.bias
head/norm/scale          | %.pooler.layernorm.weight
head/norm/bias           | %.pooler.layernorm.bias
"""
BEIT_POOLED = _encoder(BEIT_BLOCK, STEM + MASK_TOKEN + RELATIVE + POOLED, "beit") + HEAD
DATA2VEC = _encoder(BEIT_BLOCK, STEM + MASK_TOKEN + RELATIVE + POOLED, "data2vec_vision") + HEAD
VIDEOMAE = (
  _encoder(VIDEO_BLOCK, PATCHES + NORM, "videomae")
  + base.blocks(VIDEO_BLOCK, DECODER, "decoder.decoder_layers.#")
  + """
predictor/embed/kernel     | encoder_to_decoder.weight | linear
predictor/mask_token       | mask_token | deeper
predictor/norm/scale       | decoder.norm.weight
predictor/norm/bias        | decoder.norm.bias
predictor/head/kernel      | decoder.head.weight | linear
predictor/head/bias        | decoder.head.bias
head/norm/scale            | fc_norm.weight
head/norm/bias             | fc_norm.bias
"""
  + HEAD
)
REGISTERS = """
encoder/register_token   | %.embeddings.register_tokens
encoder/mask_token       | %.embeddings.mask_token | deeper
"""
DINOV2 = _encoder(DINO_BLOCK, STEM + NORM + REGISTERS, "dinov2") + HEAD
DINOV2_GATED = DINOV2.replace("mlp.fc1", "mlp.weights_in").replace("mlp.fc2", "mlp.weights_out")
CLIP = base.blocks(CLIP_BLOCK, ENCODER, "vision_model.encoder.layers.#") + (
  """
tokenizer/embed/kernel   | vision_model.embeddings.patch_embedding.weight | patches
encoder/class_token      | vision_model.embeddings.class_embedding | vector
encoder/class_positions  | vision_model.embeddings.position_embedding.weight[a] | deeper
encoder/positions_table  | vision_model.embeddings.position_embedding.weight[b] | deeper
encoder/pre_norm/scale   | vision_model.pre_layrnorm.weight
encoder/pre_norm/bias    | vision_model.pre_layrnorm.bias
encoder/norm/scale       | vision_model.post_layernorm.weight
encoder/norm/bias        | vision_model.post_layernorm.bias
head/classifier/kernel   | visual_projection.weight | linear
"""
)
