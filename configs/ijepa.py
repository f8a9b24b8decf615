"""I-JEPA: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture
(Assran et al., CVPR 2023, arXiv 2301.08243).

Reference implementation: github.com/facebookresearch/ijepa (not copied: CC BY-NC).
Run:       mim-jax train --config=configs/ijepa.py:size=H --workdir=runs/ijepa_h
Laptop:    mim-jax train --config=configs/ijepa.py:dataset=digits --workdir=runs/ijepa_digits
Cost:      145.6 / 441.5 / 1072 GFLOP an image for B/16, L/16, H/14 at 224 pixels: 3 x context
           encoder and predictor (four targets), 1 x the teacher on the whole image.
Published: linear probe on ImageNet-1k 72.9 / 77.5 / 79.3 % (B and L 600 epochs, H 300), of the
           teacher's mean-pooled patches.
Ours:      not run on ImageNet yet.

Unlike the reference, masks are not cut to the shortest of a batch in raster order, which there
hides the bottom of the image from the encoder, and the last row and column are drawn too: see
masks.multi_block. The context keeps at most 5/8 of the patches (1 image in 20 has more, and
loses some at random), against 70 of 256 on average there: dearer, and not biased.
Images are resized with the bicubic kernel, not the bilinear one.
"""

import ml_collections

from mim_jax import (
  encoders,
  losses,
  masks,
  objectives,
  predictors,
  schedules,
  targets,
  teachers,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.masks import rectangles
from mim_jax.ops import cost
from mim_jax.optim import optimizers

# Elsewhere 384 wide, with as many heads as the encoder: appendix A.1; depth of table 12 there.
PREDICTORS = dict(
  nano=dict(width=16, depth=1), tiny=dict(width=48, depth=2), S=dict(width=192, depth=6)
)
DEPTH = dict(B=6, L=12, H=12)
# configs/*.yaml of the reference; rates, there for 2048 images, are for 256 here, but the last.
EPOCHS, BATCH, WARMUP = dict(B=600, L=600), 2048, 40
RATES = dict(start=2e-4 * 256 / BATCH, peak=1e-3 * 256 / BATCH)
LAPTOP_RATES = dict(start=4e-4, peak=5e-3)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """I-JEPA at `size` on `dataset`; see common.ARGUMENTS."""
  a = common.arguments(arg)
  a.epochs = a.epochs or EPOCHS.get(a.size, 300)
  c = common.base(a)
  small = a.size in common.LAPTOP
  if not small:
    c.train.batch_size = BATCH
  if a.dataset != "digits":
    c.data.augment.update(scale=(0.3, 1.0), flip=False)
  # Of 4 x 4 patches, with positions as large as their content, two or three tell little of it.
  scale = (0.25, 0.4) if a.dataset == "digits" else (0.15, 0.2)
  mask = part(masks.multi_block, scale=scale, most=0.625)
  target = part(targets.latents, normalize=True)
  c.objective = part(
    objectives.predict_masked, entry="image", mask=mask, target=target, loss=part(losses.smooth_l1)
  )
  c.parts = parts(c, a.size)
  momentum = dict(start=0.99, end=1.0) if small else dict(start=0.996, end=1.0)
  c.teachers.ema = part(teachers.Ema, momentum=part(schedules.linear, **momentum))
  rates = {k: common.scaled(c, rate) for k, rate in (LAPTOP_RATES if small else RATES).items()}
  warmup = min(WARMUP / a.epochs, 0.15)
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(schedules.cosine, **rates, end=1e-6, warmup=warmup),
    weight_decay=part(schedules.cosine, peak=0.04, end=0.4),
  )
  return c


def parts(c, size: str) -> dict:
  """The networks; kernels start normal(0.02), which is what the reference's two passes come to.

  Narrow networks would start too small by that, and learn late.
  """
  shape, dtype = common.SIZES[size], c.train.get_ref("dtype")
  shared = dict(dtype=dtype, kernel_init="xavier" if size in common.LAPTOP else "normal")
  return dict(
    tokenizer=part(
      tokenizers.ImagePatches, patch=c.get_ref("patch"), width=shape["width"], **shared
    ),
    encoder=common.network(
      encoders.ViT, depth=shape["depth"], heads=shape["heads"], class_tokens=0, **shared
    ),
    predictor=common.network(
      predictors.Transformer,
      **PREDICTORS.get(size, dict(width=384, depth=DEPTH.get(size, 12))),
      heads=shape["heads"],
      target_width=shape["width"],
      **shared,
    ),
  )


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image; padding costs as much as what is real."""
  encoder, predictor, mask = c.parts.encoder, c.parts.predictor, c.objective.mask
  n, d, w = common.tokens(c), c.parts.tokenizer.width, predictor.width
  e = c.patch**2 * len(c.data.view.mean)
  grid = tuple(side // c.patch for side in c.data.augment.size)
  v, m = rectangles.counts(grid, mask.scale, mask.aspect, mask.most)
  embed, depth = cost.dense(n, e, d), encoder.stack.depth
  asked = cost.stack(v + m, w, predictor.stack.depth, predictor.stack.mlp_ratio) + cost.dense(m, w, d)
  student = embed + cost.stack(v, d, depth, encoder.stack.mlp_ratio) + cost.dense(v, d, w)
  teacher = embed + cost.stack(n, d, depth, encoder.stack.mlp_ratio)
  return cost.TRAIN * (student + mask.blocks * asked) + teacher
