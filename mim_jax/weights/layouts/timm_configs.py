"""config.json of timm: a model of that library and the arguments that make it ours.

`timm.create_model("local-dir:FOLDER", pretrained=True)` builds the network from it.
"""

from typing import Any

from mim_jax.weights import parts as parts_lib


def described(name: str, args: dict[str, Any], config) -> dict[str, Any]:
  """Makes config.json of the model `name` with `args`, for images as the config's view cuts."""
  view, head = config.data.view, config.parts.get("head")
  classes = head.count if head else 0
  seen = dict(mean=list(view.mean), std=list(view.std), input_size=[len(view.mean), *view.size])
  seen["crop_pct"] = 1 / view.resize
  return dict(
    architecture=name,
    num_classes=classes,
    model_args=args | dict(in_chans=len(view.mean)),
    pretrained_cfg=dict(interpolation="bicubic", num_classes=classes, **seen),
  )


def vit(config) -> dict[str, Any]:
  """Makes config.json of a ViT; its name says what no argument does: CLIP's norms and its GELU."""
  parts, ours = config.parts, parts_lib.settings(config.parts.encoder)
  head = parts.get("head", dict(pool="class" if ours.class_tokens else "mean", norm=False))
  name = "vit_base_patch16_224"
  if ours.pre_norm:
    quick = "quickgelu_" if ours.activation == "quick_gelu" else ""
    name = f"vit_base_patch16_clip_{quick}224"
  args = dict(
    img_size=list(config.data.view.size),
    patch_size=parts.tokenizer.patch,
    embed_dim=parts.tokenizer.width,
    depth=ours.depth,
    num_heads=ours.heads,
    mlp_ratio=ours.mlp_ratio,
    qkv_bias=ours.qkv_bias,
    init_values=ours.layer_scale,
    class_token=bool(ours.class_tokens),
    reg_tokens=ours.registers,
    no_embed_class=not ours.class_tokens or bool(ours.registers),
    global_pool="token" if head["pool"] == "class" else "avg",
    final_norm=ours.norm == "affine" or head["norm"],
    fc_norm=head["norm"],
  )
  return described(name, args, config)


def swin(config) -> dict[str, Any]:
  """Makes config.json of a Swin transformer."""
  ours = config.parts.encoder
  args = dict(
    img_size=list(config.data.view.size),
    patch_size=config.parts.tokenizer.patch,
    embed_dim=config.parts.tokenizer.width,
    depths=list(ours.depths),
    num_heads=list(ours.heads),
    window_size=ours.window,
    mlp_ratio=ours.mlp_ratio,
  )
  return described("swin_tiny_patch4_window7_224", args, config)


def resnet(config) -> dict[str, Any]:
  """Makes config.json of a ResNet of bottleneck blocks."""
  ours = config.parts.encoder
  channels = [ours.width << i for i in range(len(ours.depths))]
  return described("resnet50", dict(layers=list(ours.depths), channels=channels), config)


def convnext(config) -> dict[str, Any]:
  """Makes config.json of a ConvNeXt."""
  ours = config.parts.encoder
  patch = ours.patch >> (len(ours.depths) - 1)
  args = dict(depths=list(ours.depths), dims=list(ours.widths), patch_size=patch)
  return described("convnext_tiny", args, config)
