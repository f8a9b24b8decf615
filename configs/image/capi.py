"""CAPI: Cluster and Predict Latent Patches for Improved Masked Image Modeling (Darcet et al., TMLR
2025, arXiv 2502.08769).

Reference: github.com/facebookresearch/capi (Apache-2.0; not copied).
Published: L/14 after 500,000 steps of 16,384 images, attentive probe on ImageNet-1k, by training
           set: 82.9 % (ImageNet-1k), 83.6 % (ImageNet-22k), 83.8 % (LVD-142M).
Differs:   the rotary positions are a true rotation. `pairing="coupled"` (encoder and predictor) is
           the form that the published weights were trained with, which pairs channels of unlike
           angles. Only L/14 was published; the other sizes keep its ratios (a predictor half as
           deep as the encoder).
"""

from mim_jax import (
  encoders,
  heads,
  losses,
  masks,
  ops,
  pictures,
  predictors,
  schedules,
  teachers,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.methods import capi

LAPTOP = {
  "parts.*.count": dict(nano=16, tiny=64),
  "parts.*.drop_path": 0.0,  # few blocks: none to spare
  "objective.mask.predicted": 1.0,
  "teachers.ema.momentum.peak": 0.99,
  "optimizer.learning_rate.peak": 5e-3,
}
# Factors on 0.1 and on the rate: the clustering head has a decay of 0.01, also on its bias, and
# half the rate. Registers and the mask token decay, as in the reference.
DECAY = (("^clusters/", 0.1), (r"bias$", 0.0), (r"norm\d?/scale$", 0.1), (".*", 1.0))
RATES = (("^clusters/", 0.5), ("^tokenizer/", 0.2), (".*", 1.0))


def get_config(arg: str = ""):
  """CAPI."""
  patch = dict(patch=lambda a: 14 if a.image >= 128 and a.image % 14 == 0 else 0)
  c, a = recipe.start(arg, **patch, steps=500_000, batch_size=16_384)
  recipe.augment(c, a, scale=(0.6, 1.0))
  c.objective = part(
    capi.predict_clusters,
    entry="image",
    mask=part(masks.inverse_block, ratio=0.65, predicted=0.05),
    assign=part(ops.sinkhorn_knopp, temperature=0.06, iterations=3, by_position=True),
    loss=part(losses.soft_cross_entropy, temperature=0.12),
  )
  c.pictures = part(pictures.codes, entry="image")
  size, dtype = recipe.SIZES[a.size], c.train.get_ref("dtype")
  shared = dict(heads=size["heads"], drop_path=0.2)
  tokens = dict(patch=c.get_ref("patch"), width=size["width"], dtype=dtype)
  half = max(1, size["depth"] // 2)
  c.parts = dict(
    tokenizer=part(tokenizers.ImagePatches, **tokens),
    encoder=recipe.network(c, encoders.RopeViT, depth=size["depth"], **shared),
    predictor=recipe.network(c, predictors.CrossAttentionDecoder, depth=half, **shared),
    head=part(heads.CosinePrototypes, count=16_384, dtype=dtype),
    clusters=part(heads.LinearPrototypes, count=16_384, dtype=dtype),
  )
  shape = dict(warmup=0.1, truncate=0.8)
  momentum = part(schedules.cosine, start=1.0, peak=0.999, end=1.0, **shape)
  c.teachers.ema = part(teachers.Ema, momentum=momentum)
  schedule = part(schedules.cosine, peak=1e-3, **shape)
  rules = dict(weight_decay_rules=DECAY, lr_rules=RATES)
  c.optimizer = recipe.adamw(c, a, schedule, weight_decay=0.1, b2=0.95, **rules)
  return recipe.finish(c, a, laptop=LAPTOP)
