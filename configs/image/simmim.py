"""SimMIM: A Simple Framework for Masked Image Modeling (Xie et al., CVPR 2022, arXiv 2111.09886).

Reference: github.com/microsoft/SimMIM (MIT; not copied).
Numbers:   configs/*.yaml of the reference, rates for 512 images; beyond 100 epochs the rate is
           constant and falls to a tenth once, after 700 of 800. Swin of arXiv 2103.14030, 3.3.
Published: fine-tuning on ImageNet-1k 83.8 % (ViT-B, 800 epochs), 82.8 / 84.0 % (Swin-B, 100 / 800
           epochs), 85.4 % (Swin-L); linear probe 56.7 % (ViT-B, 8th block).
Differs:   images are resized with the bicubic kernel, not the bilinear one.

encoder=vit or swin.
"""

from mim_jax import (
  encoders,
  errors,
  layers,
  losses,
  masks,
  objectives,
  schedules,
  targets,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import recipe

SWINS = dict(
  nano=dict(width=16, depths=(2, 2), heads=(2, 4), window=4),
  tiny=dict(width=48, depths=(2, 2), heads=(3, 6), window=4),
  S=dict(width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), window=6),
  B=dict(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=6),
  L=dict(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12),
)
OWN = dict(
  encoder="vit",
  epochs=lambda a: 100 if a.encoder == "swin" and a.size != "L" else 800,
  image=lambda a: 192 if a.encoder == "swin" else 224,
  patch=lambda a: (4 if a.image >= 32 else 1) if a.encoder == "swin" else 0,
  batch_size=2048,
)
LAPTOP = {"optimizer.learning_rate": lambda c, a: recipe.cosine(c, a, 2e-3, warmup=10)}
# A narrow ViT would start too small by the published rules, and learn late.
VIT = {
  "parts.*.kernel_init": "xavier",
  "parts.encoder.stack.layer_scale": None,
  "parts.encoder.stack.drop_path": 0.0,
}


def get_config(arg: str = ""):
  """SimMIM with a ViT or a Swin."""
  c, a = recipe.start(arg, **OWN)
  kinds = dict(vit=vit, swin=swin)
  if a.encoder not in kinds:
    raise errors.unknown("config argument encoder", a.encoder, kinds)
  recipe.augment(c, a, scale=(0.67, 1.0))
  c.parts, unit, rules = kinds[a.encoder](c, a)
  c.objective = part(
    objectives.predict_masked,
    entry="image",
    mask=part(masks.random_blocks, ratio=0.6, unit=unit),
    target=part(targets.pixels, patch=c.get_ref("patch"), normalize=False),
    loss=part(losses.absolute_error),
  )
  c.optimizer = recipe.adamw(c, a, learning_rate(c, a), clip=5.0, weight_decay_rules=rules)
  return recipe.finish(c, a, laptop=LAPTOP | (VIT if a.encoder == "vit" else {}))


def vit(c, a) -> tuple:
  """BEiT's ViT with a linear head; squares of 32 pixels, or a seventh of small images."""
  settings = dict(positions=part(layers.NoPositions), relative=part(layers.RelativeTable))
  settings |= dict(masking=part(layers.Replace), key_bias=False)
  parts = recipe.vit(
    c,
    a,
    dict(kernel_init="trunc_normal"),
    **settings,
    kernel_init="trunc_normal",
    layer_scale=0.1,
    drop_path=0.1,
  )
  parts["predictor"] = recipe.linear(c, a)
  side = lambda size, p: 32 // p if size[0] >= 128 else max(1, size[0] // p // 7)
  unit = recipe.follow(side, c.data.augment.get_ref("size"), c.get_ref("patch"))
  return parts, unit, ((r"(bias|scale|class_token)$", 0.0), (r"(kernel|table|mask_token)$", 1.0))


def swin(c, a) -> tuple:
  """Swin with a head that predicts the square each latent stands for, which is masked at once."""
  if a.size not in SWINS:
    raise errors.unknown("config argument size, of a Swin", a.size, SWINS)
  shape = dict(SWINS[a.size])
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  tokens = dict(patch=patch, width=shape.pop("width"), kernel_init="torch", dtype=dtype)
  cell = 2 ** (len(shape["depths"]) - 1)
  parts = dict(
    tokenizer=part(tokenizers.ImagePatches, **tokens),
    encoder=part(encoders.Swin, **shape, dtype=dtype),
    predictor=recipe.linear(c, a, cell=cell),
  )
  # The tables decay: an exemption is written in the reference, but matches no name.
  rules = ((r"(bias|scale|mask_token)$", 0.0), (r"(kernel|table)$", 1.0))
  return parts, parts["predictor"].get_ref("cell"), rules


def learning_rate(c, a):
  """A cosine for short runs, one step for long ones."""
  warmup = recipe.share(c, a, 10, 0.1)
  rate = lambda r: recipe.scaled(c, r, 512)
  if a.epochs <= 100:
    rates = dict(start=rate(1e-6), peak=rate(2e-4), end=rate(1e-5))
    return part(schedules.cosine_throughout, **rates, warmup=warmup)
  rates = dict(start=rate(5e-7), peak=rate(1e-4))
  return part(schedules.staircase, **rates, at=(700 / 800,), warmup=warmup)
