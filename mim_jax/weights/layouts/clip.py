"""CLIP's image side as its authors, and open_clip after them, store it.

Names and shapes: openai/CLIP at 0845fc4, clip/model.py; layer scale and the settings of
open_clip_config.json: mlfoundations/open_clip at 01c3cd5, src/open_clip/transformer.py.
"""

from typing import Any

from mim_jax.errors import InputError
from mim_jax.weights import parts as parts_lib
from mim_jax.weights import table
from mim_jax.weights.layouts import authors, base, hf

BLOCK = """
@/norm1/scale          | %.ln_1.weight
@/norm1/bias           | %.ln_1.bias
@/attention/qkv/kernel | %.attn.in_proj_weight | linear
@/attention/qkv/bias   | %.attn.in_proj_bias
@/attention/out/kernel | %.attn.out_proj.weight | linear
@/attention/out/bias   | %.attn.out_proj.bias
@/residual1/scale      | %.ls_1.gamma
@/norm2/scale          | %.ln_2.weight
@/norm2/bias           | %.ln_2.bias
@/mlp/up/kernel        | %.mlp.c_fc.weight | linear
@/mlp/up/bias          | %.mlp.c_fc.bias
@/mlp/down/kernel      | %.mlp.c_proj.weight | linear
@/mlp/down/bias        | %.mlp.c_proj.bias
@/residual2/scale      | %.ls_2.gamma
"""
# The projection is no Linear of theirs but a bare matrix [width, embedding], as ours is.
VISUAL = base.blocks(BLOCK, "encoder/stack/block_#", "visual.transformer.resblocks.#") + (
  """
tokenizer/embed/kernel   | visual.conv1.weight | patches
encoder/class_token      | visual.class_embedding | vector
encoder/class_positions  | visual.positional_embedding[a] | deeper
encoder/positions_table  | visual.positional_embedding[b] | deeper
encoder/pre_norm/scale   | visual.ln_pre.weight
encoder/pre_norm/bias    | visual.ln_pre.bias
encoder/norm/scale       | visual.ln_post.weight
encoder/norm/bias        | visual.ln_post.bias
head/classifier/kernel   | visual.proj
"""
)
TEXTS = (
  r"(transformer|token_embedding|ln_final|text|text_projection)\..*"
  r"|positional_embedding|text_projection|logit_scale|logit_bias"
)
LEFT = {
  TEXTS: hf.TEXTS_WHY,
  r"input_resolution|context_length|vocab_size": "a number that the shapes show",
}
# Of openai/CLIP's B and L (64 values a head) and of open_clip's H (80), g (88) and bigG (104).
HEADS = {768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}
HEAD_WIDTH, EPSILON = 64, 1e-5  # where open_clip_config.json says no other


def read(layout: base.Layout, source: base.Source):
  """Reads our parts, with activation and heads as open_clip_config.json says.

  Without that file the mlp has quick GELU, as CLIP's authors have it, unless the user says another.
  InputError for CLIP's residual networks, and for an embedding that is not the class token's.
  """
  has = table.look(layout.table, source.shapes())
  if "encoder/stack/block_00/mlp/up/kernel" not in has:
    raise InputError(
      "weights: there is no 'visual.transformer.resblocks.0.mlp.c_fc.weight'. CLIP's residual "
      "networks (RN50 and so on) are not read: take one of its vision transformers."
    )
  width = has["tokenizer/embed/kernel"][0]
  model = source.config.get("model_cfg") or {}
  vision = model.get("vision_cfg", {})
  if vision.get("pool_type", "tok") != "tok":
    raise InputError(
      f"open_clip_config.json: pool_type is {vision['pool_type']!r}; only 'tok', the embedding of "
      "the class token, is read."
    )
  known = {width: width // vision.get("head_width", HEAD_WIDTH)} if model else HEADS
  facts = dict(
    heads=base.heads_of(source, width, known=known),
    epsilon=vision.get("norm_kwargs", {}).get("eps", EPSILON),
    activation=base.activation_of(source, _stated(model)),
  )
  parts = base.vit(layout, source, facts)
  if "head" in parts:
    parts.head.count = has["head/classifier/kernel"][1]
  return parts


def _stated(model: dict[str, Any]) -> str:
  """Reads the activation of open_clip_config.json; that of CLIP's authors without one."""
  if not model or model.get("quick_gelu"):
    return "quick_gelu"
  tanh = model.get("vision_cfg", {}).get("act_kwargs", {}).get("approximate") == "tanh"
  return "gelu_tanh" if tanh else "gelu"


def write(config) -> dict[str, Any]:
  """Makes what open_clip_config.json says of the image side, so that ours reads back unchanged."""
  parts, head = config.parts, config.parts.get("head")
  ours = parts_lib.settings(parts.encoder)
  width = parts.tokenizer.width
  vision: dict[str, Any] = dict(
    image_size=config.data.view.size[0],
    layers=ours.depth,
    width=width,
    head_width=width // ours.heads,
    mlp_ratio=ours.mlp_ratio,
    patch_size=parts.tokenizer.patch,
    norm_kwargs=dict(eps=ours.epsilon),
  )
  if ours.activation == "gelu_tanh":
    vision["act_kwargs"] = dict(approximate="tanh")
  embedding = dict(embed_dim=head.count) if head else {}
  quick = ours.activation == "quick_gelu"
  return dict(model_cfg=dict(quick_gelu=quick, vision_cfg=vision) | embedding)


LAYOUTS = (
  base.Layout(
    "clip",
    "vit",
    VISUAL,
    read,
    hf.fits(pre_norm=hf.ANY, layer_scale=hf.ANY),
    write,
    prefix="visual.",
    left=LEFT,
    head="Classifier",
    pool="class",
    wrappers=("state_dict.",),
    aliases=authors.MODULE,
    view=hf.CLIP_VIEW,
    licence="MIT (openai/CLIP)",
  ),
)
