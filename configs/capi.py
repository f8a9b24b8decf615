"""CAPI: Cluster and Predict Latent Patches for Improved Masked Image Modeling (Darcet et al., TMLR
2025, arXiv 2502.08769).

Reference implementation: github.com/facebookresearch/capi (Apache-2.0; not copied).
Run:       mim-jax train --config=configs/capi.py:size=L --workdir=runs/capi_l
Laptop:    mim-jax train --config=configs/capi.py:dataset=digits --workdir=runs/capi
Cost:      408 GFLOP an image for L/14 at 224 pixels: 3 x forward of what is visible, 1 x forward of
           the whole image through the teacher, the clustering head over all of its tokens.
Published: L/14 after 500,000 steps of 16,384 images, attentive probe on ImageNet-1k, by training
           set: 82.9 % (ImageNet-1k), 83.6 % (ImageNet-22k), 83.8 % (LVD-142M).
Ours:      not run on ImageNet yet.

The rotary positions are a true rotation. `pairing="coupled"` (encoder and predictor) is the form
that the published weights were trained with, which pairs channels of unlike angles.
Only L/14 was published; the other sizes keep its ratios (a predictor half as deep as the encoder).
"""

import ml_collections

from mim_jax import (
  encoders,
  heads,
  losses,
  masks,
  predictors,
  schedules,
  teachers,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.masks import inverse
from mim_jax.methods import capi
from mim_jax.ops import cost, sinkhorn
from mim_jax.optim import optimizers

STEPS, BATCH, WARMUP, RATE = 500_000, 16_384, 0.1, 1e-3
# Prototypes, share of the masked tokens that is predicted, momentum of the teacher after its start.
PUBLISHED = dict(prototypes=16_384, predicted=0.05, momentum=0.999, rate=RATE, drop_path=0.2)
SMALL = dict(predicted=1.0, momentum=0.99, rate=5e-3, drop_path=0.0)  # few blocks: none to spare
LAPTOP = dict(nano=dict(prototypes=16, **SMALL), tiny=dict(prototypes=64, **SMALL))


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """CAPI at `size` on `dataset`; see common.ARGUMENTS."""
  a = common.arguments(arg)
  if a.image >= 128 and a.image % 14 == 0 and "patch=" not in arg:
    a.patch = 14
  c = common.base(a)
  if a.size not in common.LAPTOP:
    c.train.batch_size = BATCH
    if not a.epochs:
      c.train.update(steps=STEPS, epochs=None)
  c.data.augment.scale = (0.6, 1.0)
  recipe = LAPTOP.get(a.size, PUBLISHED)
  c.objective = part(
    capi.predict_clusters, entry="image",
    mask=part(masks.inverse_block, ratio=0.65, predicted=recipe["predicted"]),
    assign=part(sinkhorn.sinkhorn_knopp, temperature=0.06, iterations=3, by_position=True),
    loss=part(losses.soft_cross_entropy, temperature=0.12),
  )
  c.parts = parts(c, common.SIZES[a.size], recipe)
  shape = dict(warmup=WARMUP, share=0.8)
  momentum = part(schedules.cosine, start=1.0, peak=recipe["momentum"], end=1.0, **shape)
  c.teachers.ema = part(teachers.Ema, momentum=momentum)
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(schedules.cosine, peak=recipe["rate"], **shape),
    weight_decay=part(schedules.constant, value=0.1),
    b2=0.95,
    # Factors on 0.1 and on the rate: the clustering head has a decay of 0.01, also on its bias, and
    # half the rate. Registers and the mask token decay, as in the reference.
    decay=(("^clusters/", 0.1), (r"bias$", 0.0), (r"norm\d?/scale$", 0.1), (".*", 1.0)),
    rate=(("^clusters/", 0.5), ("^tokenizer/", 0.2), (".*", 1.0)),
  )
  return c


def parts(c, size: dict, recipe: dict) -> dict:
  """The networks; drop path is the same in every block, of the encoder and of the predictor."""
  dtype = c.train.get_ref("dtype")
  shared = dict(heads=size["heads"], drop_path=recipe["drop_path"], dtype=dtype)
  prototypes = recipe["prototypes"]
  return dict(
    tokenizer=part(
      tokenizers.ImagePatches, patch=c.get_ref("patch"), width=size["width"], dtype=dtype
    ),
    encoder=common.network(encoders.RopeViT, depth=size["depth"], **shared),
    predictor=common.network(predictors.CrossAttentionDecoder, depth=max(1, size["depth"] // 2), **shared),
    head=part(heads.CosinePrototypes, count=prototypes, dtype=dtype),
    clusters=part(heads.LinearPrototypes, count=prototypes, dtype=dtype),
  )


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image."""
  encoder, predictor, mask = c.parts.encoder, c.parts.predictor, c.objective.mask
  n, d, r = common.tokens(c), c.parts.tokenizer.width, encoder.registers
  e = c.patch**2 * len(c.data.view.mean)
  v, m = inverse.counts(n, mask.ratio, mask.predicted)
  asked = cost.attention(m, d, r + v) + cost.mlp(m, d, predictor.stack.mlp_ratio)
  student = (
    cost.dense(n, e, d)
    + cost.stack(r + v, d, encoder.stack.depth, encoder.stack.mlp_ratio)
    + predictor.stack.depth * asked
    + cost.dense(m, d, c.parts.head.count)
  )
  teacher = cost.dense(n, e, d) + cost.stack(r + n, d, encoder.stack.depth, encoder.stack.mlp_ratio)
  # Nothing flows back from the clustering head into the teacher: forward and its own gradient.
  return cost.TRAIN * student + teacher + 2 * cost.dense(n, d, c.parts.clusters.count)
