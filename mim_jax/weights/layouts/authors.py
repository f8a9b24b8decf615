"""Networks as the authors of the methods published them."""

from mim_jax.errors import InputError
from mim_jax.weights.layouts import base, conv, hf, timm

DECODER = (
  base.blocks(timm.BLOCK, "predictor/stack/block_#", "decoder_blocks.#")
  + """
predictor/embed/kernel     | decoder_embed.weight | linear
predictor/embed/bias       | decoder_embed.bias
predictor/mask_token       | mask_token | deeper
predictor/class_positions  | decoder_pos_embed[a]
predictor/positions_table  | decoder_pos_embed[b]
predictor/norm/scale       | decoder_norm.weight
predictor/norm/bias        | decoder_norm.bias
predictor/head/kernel      | decoder_pred.weight | linear
predictor/head/bias        | decoder_pred.bias
"""
)
IJEPA = (
  timm.encoder(timm.BLOCK, timm.STEM, "target_encoder.")
  + base.blocks(timm.BLOCK, "predictor/stack/block_#", "predictor.predictor_blocks.#")
  + """
predictor/embed/kernel     | predictor.predictor_embed.weight | linear
predictor/embed/bias       | predictor.predictor_embed.bias
predictor/mask_token       | predictor.mask_token | deeper
predictor/positions_table  | predictor.predictor_pos_embed
predictor/norm/scale       | predictor.predictor_norm.weight
predictor/norm/bias        | predictor.predictor_norm.bias
predictor/head/kernel      | predictor.predictor_proj.weight | linear
predictor/head/bias        | predictor.predictor_proj.bias
"""
)
# Keys have no bias. A bias of keys in ours is left out: the softmax undoes it.
PLAIN_KEYS = timm.BLOCK.replace("@/attention/qkv/bias     | %.attn.qkv.bias\n", "") + (
  """
@/attention/query_bias   | %.attn.q_bias
@/attention/value_bias   | %.attn.v_bias
"""
)
BEIT_BLOCK = (
  PLAIN_KEYS
  + """
@/residual1/scale        | %.gamma_1
@/residual2/scale        | %.gamma_2
"""
)
BEIT_STEM = (
  timm.STEM
  + """
encoder/mask_token       | %mask_token
encoder/relative_table   | %rel_pos_bias.relative_position_bias_table
encoder/relative_tables  | %blocks.*.attn.relative_position_bias_table
"""
)
BEIT = timm.encoder(BEIT_BLOCK, BEIT_STEM + timm.HEAD) + (
  """
predictor/head/kernel    | lm_head.weight | linear
predictor/head/bias      | lm_head.bias
"""
)
PIXELS = """
predictor/head/kernel    | decoder.0.weight | shuffled 1x1
predictor/head/bias      | decoder.0.bias | shuffled
"""
SIMMIM_SWIN = (
  timm.swin("encoder.", 1)
  + """
encoder/mask_token       | encoder.mask_token
"""
  + timm.FC.replace("head.fc", "encoder.head")
  + PIXELS
)
VIDEOMAE = (
  timm.encoder(PLAIN_KEYS, timm.PATCHES + timm.NORM, "encoder.")
  + base.blocks(PLAIN_KEYS, "predictor/stack/block_#", "decoder.blocks.#")
  + """
predictor/stack/block_#/attention/qkv/bias | decoder.blocks.#.attn.{q_bias,-,v_bias}
predictor/embed/kernel     | encoder_to_decoder.weight | linear
predictor/mask_token       | mask_token | deeper
predictor/norm/scale       | decoder.norm.weight
predictor/norm/bias        | decoder.norm.bias
predictor/head/kernel      | decoder.head.weight | linear
predictor/head/bias        | decoder.head.bias
"""
)
VIDEOMAE_LABELLED = timm.encoder(PLAIN_KEYS, timm.PATCHES + timm.HEAD)
IBOT = timm.encoder(
  timm.BLOCK,
  timm.STEM
  + """
encoder/mask_token       | %masked_embed | deeper
""",
  "backbone.",
) + (
  """
head/first/kernel        | head.mlp.0.weight | linear
head/first/bias          | head.mlp.0.bias
head/second/kernel       | head.mlp.2.weight | linear
head/second/bias         | head.mlp.2.bias
head/third/kernel        | head.mlp.4.weight | linear
head/third/bias          | head.mlp.4.bias
head/codes               | head.last_layer.weight_v | linear
head/gain                | head.last_layer.weight_g | linear
"""
)
DINOV2 = timm.encoder(
  timm.BLOCK + timm.SCALES,
  timm.STEM
  + """
encoder/mask_token       | mask_token | deeper
encoder/register_token   | register_tokens
""",
)
DINOV2_GATED = DINOV2.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")

NON_COMMERCIAL = "CC BY-NC 4.0, not for commercial use"
INDEX = r".*\.relative_position_index"
MODULE = ((r"(^|\.)module\.", r"\1"),)  # of torch's data-parallel wrapper


def _mae_like(parts) -> bool:
  return hf.is_vit(parts, masking="drop")


def _resizing(has) -> dict:
  """Tells how DINOv2 resizes positions: otherwise since it has registers."""
  return dict(antialias=True) if "encoder/register_token" in has else dict(grid_offset=0.1)


def _beit(layout: base.Layout, source: base.Source):
  """Reads our parts.

  InputError for a linear classifier, whose norm without arrays no head here has.
  """
  names = source.arrays.keys()
  if "head.weight" in names and not {"norm.weight", "fc_norm.weight"} & names:
    raise InputError(
      "weights: there is a head, but neither 'norm.weight' nor 'fc_norm.weight': it is a linear "
      "classifier behind a norm without arrays, which is not read. Take the pre-trained file."
    )
  return timm.read(layout, source)


def _data2vec(has) -> bool:
  """Tells whether a file with BEiT's names is data2vec's.

  It has one table of relative positions for all blocks, also of fine-tuned networks, and a head as
  wide as the network, not of codes, before that. Source: facebookresearch/data2vec_vision at
  af9a363, beit/modeling_cyclical.py, run_class_finetuning.py.
  """
  rows, width = has.get("predictor/head/kernel", (0, 1))
  return "encoder/relative_table" in has and (rows == width or "head/norm/scale" in has)


def _dinov2(gated: bool) -> base.Layout:
  return base.Layout(
    "dinov2",
    "swiglu" if gated else "mlp",
    DINOV2_GATED if gated else DINOV2,
    timm.read,
    hf.fits(
      registers=hf.ANY,
      layer_scale=lambda x: x is not None,
      activation=lambda x: (x == "swiglu") == gated,
    ),
    facts=_resizing,
    licence="Apache-2.0 (facebookresearch/dinov2)",
  )


LAYOUTS = (
  base.Layout(
    "mae",
    "vit",
    timm.encoder(timm.BLOCK, timm.STEM) + DECODER,
    timm.read,
    _mae_like,
    predictor="Transformer",
    left=timm.HEADS,
    wrappers=("model.",),
    fused=True,
    licence=f"{NON_COMMERCIAL} (facebookresearch/mae)",
  ),
  base.Layout(
    "ijepa",
    "vit",
    IJEPA,
    timm.read,
    hf.fits(class_tokens=0),
    predictor="Transformer",
    left={r"encoder\..*": "the student, of which the target encoder is the average"},
    aliases=MODULE,
    licence=f"{NON_COMMERCIAL} (facebookresearch/ijepa)",
  ),
  base.Layout(
    "videomae",
    "labelled",
    VIDEOMAE_LABELLED,
    timm.read,
    hf.fits(tokenizer="VideoCubes", class_tokens=0, key_bias=False, norm="none"),
    head="Classifier",
    wrappers=("model.",),
    aliases=MODULE,
    own=lambda has: len(has.get("tokenizer/embed/kernel", ())) == 5,  # as BEiT's, but of cubes
    licence=f"{NON_COMMERCIAL} (MCG-NJU/VideoMAE)",
  ),
  base.Layout(
    "data2vec",
    "vit",
    BEIT,
    _beit,
    hf.fits(**hf.BEIT_LIKE),
    predictor="Linear",
    left={INDEX: timm.DERIVED, r"model_ema\..*": "the teacher, an average of the network"},
    head="Classifier",
    wrappers=("model.",),
    aliases=MODULE,
    own=_data2vec,
    licence="CC BY-NC, not for commercial use (facebookresearch/data2vec_vision)",
  ),
  base.Layout(
    "beit",
    "vit",
    BEIT,
    _beit,
    hf.fits(**hf.BEIT_LIKE),
    predictor="Linear",
    left={INDEX: timm.DERIVED, r"cls_pt_.*": "the second, shallow road to BEiT v2's codes"},
    head="Classifier",
    wrappers=("model.",),
    licence="MIT (microsoft/unilm)",
  ),
  base.Layout(
    "simmim",
    "vit",
    timm.encoder(BEIT_BLOCK, BEIT_STEM, "encoder.") + PIXELS,
    timm.read,
    hf.fits(**hf.BEIT_LIKE),
    predictor="Linear",
    left={INDEX: timm.DERIVED},
    wrappers=("model.",),
    licence="MIT (microsoft/SimMIM)",
  ),
  base.Layout(
    "simmim",
    "swin",
    SIMMIM_SWIN,
    conv.swin,
    conv.is_a("Swin"),
    predictor="Linear",
    left={INDEX: timm.DERIVED, r".*\.attn_mask": timm.DERIVED},
    prefix="encoder.",
    head="Classifier",
    wrappers=("model.",),
    licence="MIT (microsoft/SimMIM)",
  ),
  base.Layout(
    "videomae",
    "vit",
    VIDEOMAE,
    timm.read,
    hf.fits(tokenizer="VideoCubes", class_tokens=0, key_bias=False),
    predictor="Transformer",
    wrappers=("model.",),
    licence=f"{NON_COMMERCIAL} (MCG-NJU/VideoMAE)",
  ),
  base.Layout(
    "ibot",
    "vit",
    IBOT,
    timm.read,
    hf.fits(layer_scale=None),
    prefix="backbone.",
    left={
      r"student\..*": "its average, the teacher, is taken",
      r"(backbone\.)?head\..*": "a second map of the head, for patches alone, or batch norm in it",
    },
    head="ProjectionHead",
    wrappers=("teacher.", "state_dict."),
    aliases=MODULE,
    fused=True,
    facts=lambda has: dict(grid_offset=0.1),
    licence="Apache-2.0 (bytedance/ibot, facebookresearch/dino)",
  ),
  _dinov2(False),
  _dinov2(True),
)
