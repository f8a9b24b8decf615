"""CropMAE: Efficient Image Pre-Training with Siamese Cropped Masked Autoencoders
(Eymaël et al., ECCV 2024, arXiv 2403.17823).
With views=frames, SiamMAE: Siamese Masked Autoencoders (Gupta et al., NeurIPS 2023, arXiv
2305.14344): the two views are two frames of a clip instead of two crops of an image.

Reference implementation: github.com/alexandre-eymael/CropMAE (not copied: parts are CC BY-NC). It
           also holds the re-implementation of SiamMAE, which has no code of its own.
Run:       mim-jax train --config=configs/cropmae.py --workdir=runs/cropmae_s
           mim-jax train --config=configs/cropmae.py:views=frames,path=kinetics --workdir=runs/siam
Laptop:    mim-jax train --config=configs/cropmae.py:dataset=digits --workdir=runs/digits
           mim-jax train --config=configs/cropmae.py:dataset=digits,views=frames --workdir=runs/siam
Cost:      3 x forward, 37.1 / 116.5 / 384.6 GFLOP a pair for S/16, B/16, L/16 at 224 pixels, most
           of it for the view that is not masked.
Published: label propagation with S/16: DAVIS 60.4 J&F, VIP 33.3 mIoU, JHMDB 43.6 PCK@0.1 (CropMAE
           on ImageNet-1k, 400 epochs). No ImageNet accuracy is claimed.
Ours:      not run on ImageNet or videos yet.

As in the reference, but that views are resampled with the bicubic kernel of all our views, and that
the first step has the first rate of the schedule, not the peak.
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
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.data.image import crops
from mim_jax.data.video import clip_views, frames
from mim_jax.masks import sparse
from mim_jax.ops import cost
from mim_jax.optim import optimizers

# Elsewhere as in the scripts of the reference, whatever the encoder.
DECODERS = dict(
  nano=dict(width=16, depth=1, heads=2, hidden=64),
  tiny=dict(width=64, depth=2, heads=4, hidden=256),
)
DECODER = dict(width=256, depth=4, heads=8, hidden=2048)
RATIOS = dict(crops=0.985, frames=0.95)
EPOCHS, WARMUP, BATCH, RATE = 400, 0.05, 2048, 1e-4  # the rate is for 256 pairs


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """CropMAE, or SiamMAE with views=frames, at `size` on `dataset`; see common.ARGUMENTS."""
  a = arguments(arg)
  c = common.base(a)
  views = {"crops": image_views, "frames": frame_views}[a.views]
  c.data = ml_collections.ConfigDict(views(a, c.data))
  size, small = common.SIZES[a.size], a.size in common.LAPTOP
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  if not small:
    c.train.batch_size = BATCH

  mask = part(masks.random_keep_few, ratio=RATIOS[a.views])
  c.objective = part(
    objectives.predict_from_context, entry="image",
    mask=mask,
    target=part(targets.pixels, patch=patch, normalize=True),
    loss=part(losses.squared_error),
  )
  c.parts = dict(
    tokenizer=part(tokenizers.ImagePatches, patch=patch, width=size["width"], dtype=dtype),
    encoder=common.network(encoders.ViT, depth=size["depth"], heads=size["heads"], dtype=dtype),
    predictor=part(
      predictors.CrossTransformer,
      **DECODERS.get(a.size, DECODER),
      target_width=patch**2 * a.channels,
      dtype=dtype,
    ),
  )
  shown = "crop" if a.views == "crops" else "image"
  rate = common.scaled(c, 2e-3 if small else RATE)
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(schedules.cosine, peak=rate, warmup=WARMUP),
    weight_decay=part(schedules.constant, value=0.05),
    b2=0.95,
  )
  return c


def arguments(arg: str) -> ml_collections.ConfigDict:
  """The arguments of the config; what is not given follows from views and data set."""
  embedded = "dataset=digits" in arg.split(",")
  more = dict(size="" if embedded else "S", dataset="", views="crops", image=-1, patch=-1)
  a = common.arguments(arg, **more, epochs=EPOCHS)
  if a.views not in RATIOS:
    raise errors.unknown("config argument views", a.views, RATIOS)
  pairs = a.views == "frames"
  a.dataset = a.dataset or ("clips" if pairs else "imagenet2012")
  a.image = a.image if a.image > 0 else (224 if not embedded else 12 if pairs else 8)
  a.patch = a.patch if a.patch > 0 else common.default_patch("", a.image)
  return a


def image_views(a: ml_collections.ConfigDict, data: ml_collections.ConfigDict) -> dict:
  """A view of an image, and another inside it."""
  norm = dict(size=data.view.size, mean=data.view.mean, std=data.view.std)
  mild = dict(outer=(0.6, 1.0), flip=False) if a.dataset == "digits" else {}
  return dict(
    train=data.train,
    test=data.test,
    augment=part(crops.global_and_local, **mild, **norm),
    view=part(crops.center_with_crop, resize=data.view.resize, **norm),
  )


def frame_views(a: ml_collections.ConfigDict, data: ml_collections.ConfigDict) -> dict:
  """Two frames of a clip."""
  embedded = a.dataset == "digits"
  norm = dict(size=data.view.size, **common.clip_statistics(a))
  return dict(
    **common.clips(a, part(frames.pair, **(dict(low=1, high=4) if embedded else {}))),
    augment=part(clip_views.pair_crop, flip=not embedded, **norm),
    view=part(clip_views.pair_center, resize=data.view.resize, **norm),
  )


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training pair."""
  encoder, predictor = c.parts.encoder, c.parts.predictor
  n, d, w, e = common.tokens(c), c.parts.tokenizer.width, predictor.width, predictor.target_width
  v, k = sparse.shown_tokens(n, c.objective.mask.ratio), encoder.class_tokens
  block = 2 * cost.attention(k + n, w) + cost.mlp(k + n, w, predictor.hidden / w)
  forward = (
    cost.dense(2 * n, e, d)
    + sum(cost.stack(k + x, d, encoder.stack.depth, encoder.stack.mlp_ratio) for x in (n, v))
    + cost.dense(2 * k + n + v, d, w)
    + predictor.stack.depth * block
    + cost.dense(n - v, w, e)
  )
  return cost.TRAIN * forward
