"""MAE: Masked Autoencoders Are Scalable Vision Learners (He et al., CVPR 2022, arXiv 2111.06377).

Reference implementation: github.com/facebookresearch/mae (not copied: CC BY-NC).
Run:       mim-jax train --config=configs/mae.py:size=B --workdir=runs/mae_b
Laptop:    mim-jax train --config=configs/mae.py:dataset=digits --workdir=runs/digits
Cost:      3 x forward, 58.7 / 124.5 / 291.4 GFLOP an image for B/16, L/16, H/14 at 224 pixels.
Published: fine-tuning on ImageNet-1k 83.6 / 85.9 / 86.9 % (B, L, H; 1600 epochs); linear probe 68.0
/ 75.8 / 76.6 %.
Ours:      not run on ImageNet yet; on the embedded digits see experiments/digits/README.md.
"""

import ml_collections

from mim_jax import encoders, losses, masks, objectives, predictors, schedules, targets, tokenizers
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.masks import uniform
from mim_jax.ops import cost
from mim_jax.optim import optimizers

# Elsewhere 512 wide, 8 deep, 16 heads: the paper's default, table 1.
DECODERS = dict(nano=dict(width=16, depth=1, heads=2), tiny=dict(width=64, depth=2, heads=4))
# PRETRAIN.md of the reference, the released models; the rate is for 256 images.
EPOCHS, WARMUP, RATE = 1600, 40, 1.5e-4


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """MAE at `size` on `dataset`; see common.ARGUMENTS."""
  a = common.arguments(arg, epochs=EPOCHS)
  c = common.base(a)
  size = common.SIZES[a.size]
  # The embedded digits have patches of 4 pixels, most of them blank: their plain values teach more.
  normalize = a.dataset != "digits"
  rate = 2e-3 if a.size in common.LAPTOP else RATE
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")

  mask = part(masks.random, ratio=0.75)
  c.objective = part(
    objectives.predict_masked, entry="image",
    mask=mask,
    target=part(targets.pixels, patch=patch, normalize=normalize),
    loss=part(losses.squared_error),
  )
  c.parts = dict(
    tokenizer=part(tokenizers.ImagePatches, patch=patch, width=size["width"], dtype=dtype),
    encoder=common.network(encoders.ViT, depth=size["depth"], heads=size["heads"], dtype=dtype),
    predictor=common.network(
      predictors.Transformer,
      **DECODERS.get(a.size, dict(width=512, depth=8, heads=16)),
      target_width=patch**2 * a.channels,
      dtype=dtype,
    ),
  )
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(
      schedules.cosine, peak=common.scaled(c, rate), warmup=min(WARMUP / a.epochs, 0.1)
    ),
    weight_decay=part(schedules.constant, value=0.05),
    b2=0.95,
  )
  return c


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image."""
  encoder, predictor = c.parts.encoder, c.parts.predictor
  n, d, e = common.tokens(c), c.parts.tokenizer.width, predictor.target_width
  v, k = uniform.visible_count(n, c.objective.mask.ratio), encoder.class_tokens
  forward = (
    cost.dense(n, e, d)
    + cost.stack(k + v, d, encoder.stack.depth, encoder.stack.mlp_ratio)
    + cost.dense(k + v, d, predictor.width)
    + cost.stack(k + n, predictor.width, predictor.stack.depth, predictor.stack.mlp_ratio)
    + cost.dense(n - v, predictor.width, e)
  )
  return cost.TRAIN * forward
