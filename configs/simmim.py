"""SimMIM: A Simple Framework for Masked Image Modeling (Xie et al., CVPR 2022, arXiv 2111.09886).

Reference implementation: github.com/microsoft/SimMIM (MIT; not copied).
Run:       mim-jax train --config=configs/simmim.py:encoder=swin,size=B --workdir=runs/simmim_swin_b
Laptop:    mim-jax train --config=configs/simmim.py:dataset=digits --workdir=runs/simmim_digits
Cost:      3 x forward on all tokens, 105.7 GFLOP an image for ViT-B/16 at 224 pixels, 68.1 for
           Swin-B at 192: masking saves nothing.
Published: fine-tuning on ImageNet-1k 83.8 % (ViT-B, 800 epochs), 82.8 / 84.0 % (Swin-B, 100 / 800
           epochs), 85.4 % (Swin-L); linear probe 56.7 % (ViT-B, 8th block).
Ours:      not run on ImageNet yet.

encoder=vit or swin. Images are resized with the bicubic kernel, not the bilinear one.
"""

import ml_collections

from mim_jax import (
  encoders,
  errors,
  losses,
  masks,
  objectives,
  predictors,
  schedules,
  targets,
  tokenizers,
)
from mim_jax import layers
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.layers import shifted_windows
from mim_jax.masks import units
from mim_jax.ops import cost
from mim_jax.optim import optimizers

# Widths of the first stage, and stages (arXiv 2103.14030, section 3.3); nano and tiny are ours.
SWINS = dict(
  nano=dict(width=16, depths=(2, 2), heads=(2, 4), window=4),
  tiny=dict(width=48, depths=(2, 2), heads=(3, 6), window=4),
  S=dict(width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), window=6),
  B=dict(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=6),
  L=dict(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12),
)
# configs/*.yaml of the reference. Rates are for 512 images; beyond 100 epochs the rate is constant
# and falls to a tenth once, after 700 of 800.
BATCH, WARMUP, UNIT = 2048, 10, 32
SHORT = dict(start=1e-6, peak=2e-4, end=1e-5)
LONG = dict(start=5e-7, peak=1e-4)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """SimMIM at `size` on `dataset`, encoder=vit or swin; see common.ARGUMENTS."""
  a = arguments(arg)
  c = common.base(a)
  small = a.size in common.LAPTOP
  if not small:
    c.train.batch_size = BATCH
  if a.dataset != "digits":
    c.data.augment.scale = (0.67, 1.0)
  patch = c.get_ref("patch")
  c.parts, decay = (swin_parts if a.encoder == "swin" else vit_parts)(c, a)
  mask = part(masks.random_blocks, ratio=0.6, unit=unit(c, a))
  c.objective = part(
    objectives.predict_masked, entry="image",
    mask=mask,
    target=part(targets.pixels, patch=patch, normalize=False),
    loss=part(losses.absolute_error),
  )
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=learning_rate(c, a),
    weight_decay=part(schedules.constant, value=0.05),
    clip=5.0,
    decay=decay,
  )
  return c


def arguments(arg: str) -> ml_collections.ConfigDict:
  """The arguments, with image, patch and epochs as published for the encoder."""
  a = common.arguments(arg, encoder="vit")
  if a.encoder not in ("vit", "swin"):
    raise errors.unknown("config argument encoder", a.encoder, ("vit", "swin"))
  if a.encoder == "vit":
    a.epochs = a.epochs or 800
    return a
  digits = a.dataset == "digits"
  a = common.arguments(arg, encoder="swin", image=8 if digits else 192, patch=1 if digits else 4)
  if a.size not in SWINS:
    raise errors.unknown("config argument size, of a Swin", a.size, SWINS)
  a.epochs = a.epochs or (800 if a.size == "L" else 100)
  return a


def unit(c, a):
  """Side in tokens of what is masked at once: 32 pixels; of small images a seventh, as at 224."""
  if a.encoder == "swin":
    return c.parts.predictor.cell  # what one latent stands for, 32 pixels at B
  return UNIT // c.get_ref("patch") if a.image >= 128 else max(1, a.image // a.patch // 7)


def vit_parts(c, a) -> tuple[dict, tuple]:
  """BEiT's ViT with a linear head, and which of their parameters decay."""
  size, small = common.SIZES[a.size], a.size in common.LAPTOP
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  # A narrow network would start too small by the published rules, and learn late.
  shared = dict(dtype=dtype, kernel_init="xavier" if small else "trunc_normal")
  parts = dict(
    tokenizer=part(tokenizers.ImagePatches, patch=patch, width=size["width"], **shared),
    encoder=common.network(
      encoders.ViT,
      depth=size["depth"],
      heads=size["heads"],
      masking=part(layers.Replace),
      layer_scale=None if small else 0.1,
      drop_path=0.0 if small else 0.1,
      positions=part(layers.NoPositions),
      relative=part(layers.RelativeTable),
      key_bias=False,
      **shared,
    ),
    predictor=part(
      predictors.Linear,
      target_width=patch**2 * a.channels,
      kernel_init="xavier" if small else "torch",
      dtype=dtype,
    ),
  )
  decay = ((r"(bias|scale|class_token)$", 0.0), (r"(kernel|table|mask_token)$", 1.0))
  return ml_collections.ConfigDict(parts), decay


def swin_parts(c, a) -> tuple[dict, tuple]:
  """Swin with a head that predicts the square each latent stands for, and what decays."""
  size = dict(SWINS[a.size])
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  width, cell = size.pop("width"), 2 ** (len(size["depths"]) - 1)
  head = dict(target_width=patch**2 * a.channels, cell=cell)
  parts = dict(
    tokenizer=part(tokenizers.ImagePatches, patch=patch, width=width, kernel_init="torch", dtype=dtype),
    encoder=part(encoders.Swin, **size, dtype=dtype),
    predictor=part(predictors.Linear, **head, dtype=dtype),
  )
  # The tables decay: an exemption is written in the reference, but matches no name.
  decay = ((r"(bias|scale|mask_token)$", 0.0), (r"(kernel|table)$", 1.0))
  return ml_collections.ConfigDict(parts), decay


def learning_rate(c, a) -> ml_collections.ConfigDict:
  """A cosine for short runs, one step for long ones."""
  warmup = min(WARMUP / a.epochs, 0.1)
  if a.size in common.LAPTOP:
    return part(schedules.cosine, peak=common.scaled(c, 2e-3), warmup=warmup)
  if a.epochs <= 100:
    rates = {name: common.scaled(c, rate, 512) for name, rate in SHORT.items()}
    return part(schedules.cosine_throughout, **rates, warmup=warmup)
  rates = {name: common.scaled(c, rate, 512) for name, rate in LONG.items()}
  return part(schedules.staircase, **rates, at=(700 / 800,), warmup=warmup)


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image."""
  encoder, predictor = c.parts.encoder, c.parts.predictor
  n, d, e = common.tokens(c), c.parts.tokenizer.width, predictor.target_width
  embed = cost.dense(n, e, d)
  if "depths" in encoder:
    return cost.TRAIN * (embed + swin_forward(c) + swin_head(c))
  k, m = encoder.class_tokens, round(n * hidden_share(c))
  stack = cost.stack(k + n, d, encoder.stack.depth, encoder.stack.mlp_ratio)
  return cost.TRAIN * (embed + stack + cost.dense(m, d, e))


def hidden_share(c) -> float:
  """Share of the tokens that are masked."""
  mask = c.objective.mask
  squares = common.tokens(c) // mask.unit**2
  return units.hidden_count(squares, mask.ratio) / squares


def swin_forward(c) -> float:
  """The forward pass of a Swin on one image, without the embedding of patches."""
  encoder, total = c.parts.encoder, 0.0
  h, w = (side // c.patch for side in c.data.augment.size)
  d = c.parts.tokenizer.width
  for stage, depth in enumerate(encoder.depths):
    if stage:
      h, w, d = h // 2, w // 2, 2 * d
      total += cost.dense(h * w, 2 * d, d)
    window, _ = shifted_windows.layout((h, w), encoder.window, False)
    t, (rows, columns) = window[0] * window[1], shifted_windows.padded((h, w), window)
    windows = rows * columns // t
    total += depth * (windows * cost.attention(t, d) + cost.mlp(h * w, d, encoder.stack.mlp_ratio))
  return total


def swin_head(c) -> float:
  """The linear map from each latent to its square of pixels."""
  predictor, stages = c.parts.predictor, len(c.parts.encoder.depths)
  cells, d = predictor.cell**2, c.parts.tokenizer.width * 2 ** (stages - 1)
  return cost.dense(common.tokens(c) / cells, d, cells * predictor.target_width)
