"""VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training
(Tong et al., NeurIPS 2022, arXiv 2203.12602).

Reference implementation: github.com/MCG-NJU/VideoMAE (not copied: CC BY-NC).
Run:       mim-jax train --config=configs/videomae.py:path=kinetics --workdir=runs/videomae_b
           path is a folder of video files or folders of frames: see data/video/clip_files.py
Laptop:    mim-jax train --config=configs/videomae.py:dataset=digits --workdir=runs/moving_digits
           With dataset=arrays,path=FILE.npz,image=32 a camera pans over your own small pictures.
Cost:      3 x forward, 69 / 213 / 856 / 1426 GFLOP a clip of 16 frames at 224 pixels (S, B, L, H).
Published: fine-tuning on Kinetics-400 79.0 / 81.5 / 85.2 / 86.6 % (S, B, L, H; 1600 epochs), on
           Something-Something V2 70.8 / 74.3 % (B, L; 2400 epochs).
Ours:      not run on videos yet.

As in the reference, but that views are resampled with the bicubic kernel of all our views.
"""

import math

import ml_collections

from mim_jax import encoders, losses, masks, objectives, predictors, schedules, targets, tokenizers
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.data.video import clip_views, frames
from mim_jax.masks import tubes
from mim_jax.ops import cost
from mim_jax.optim import optimizers

# Section 4 and scripts/ of the reference: half as wide as the encoder, at first 4 deep.
DECODERS = dict(
  nano=dict(width=24, depth=1, heads=2),
  tiny=dict(width=72, depth=2, heads=4),
  S=dict(width=192, depth=4, heads=3),
  B=dict(width=384, depth=4, heads=6),
  L=dict(width=512, depth=12, heads=8),
  H=dict(width=640, depth=12, heads=8),
)
BATCHES = dict(S=1024, B=2048, L=512, H=1024)
EPOCHS, WARMUP, RATE, END = 1600, 40, 1.5e-4, 1e-5  # the rates are for 256 clips


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """VideoMAE at `size` on clips of `frames` frames, `stride` apart; see common.ARGUMENTS."""
  a = arguments(arg)
  c = common.base(a)
  c.data = data(a)
  small = a.size in common.LAPTOP
  if not small:
    c.train.batch_size = BATCHES[a.size]

  cubes = dict(tubelet=a.tubelet, patch=c.get_ref("patch"))
  mask = part(masks.tube, ratio=0.9)
  # Most cubes of the embedded clips are blank: plain values teach more, as in configs/mae.py.
  std, normalize = c.data.augment.std, a.dataset != "digits"
  c.objective = part(
    objectives.predict_masked, entry="image",
    mask=mask,
    target=part(targets.cubes, std=std, normalize=normalize, **cubes),
    loss=part(losses.squared_error),
  )
  c.parts = parts(c, a, cubes)
  rates = dict(peak=2e-3, end=0.0) if small else dict(peak=RATE, end=END)
  rates = {name: common.scaled(c, rate) for name, rate in rates.items()}
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(schedules.cosine, warmup=min(WARMUP / a.epochs, 0.1), **rates),
    weight_decay=part(schedules.constant, value=0.05),
    b2=0.95,
    decay=((r"(bias|scale|mask_token)$", 0.0), (r"kernel$", 1.0)),
  )
  return c


def parts(c, a, cubes: dict) -> dict:
  """The networks."""
  size, dtype = common.SIZES[a.size], c.train.get_ref("dtype")
  # Narrow networks cannot tell places apart by one number for time, row and column together.
  flat = a.size not in common.LAPTOP
  return dict(
    tokenizer=part(tokenizers.VideoCubes, width=size["width"], flat=flat, dtype=dtype, **cubes),
    encoder=common.network(
      encoders.ViT,
      depth=size["depth"],
      heads=size["heads"],
      class_tokens=0,
      key_bias=False,
      dtype=dtype,
    ),
    predictor=common.network(
      predictors.Transformer,
      **DECODERS[a.size],
      target_width=a.tubelet * c.get_ref("patch") ** 2 * a.channels,
      bias=False,
      dtype=dtype,
    ),
  )


def arguments(arg: str) -> ml_collections.ConfigDict:
  """The arguments of the config; sides and numbers that are not given follow from the data."""
  more = dict(dataset="clips", image=-1, patch=-1, frames=0, stride=0, tubelet=2, epochs=EPOCHS)
  a = common.arguments(arg, **more)
  embedded = a.dataset == "digits"
  a.image = a.image if a.image > 0 else (12 if embedded else 224)
  a.patch = a.patch if a.patch > 0 else (16 if a.image >= 128 else max(2, a.image // 4))
  a.frames = a.frames or (8 if embedded else 16)
  a.stride = a.stride or (1 if embedded else 4)
  return a


def data(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Sources of clips, and their views."""
  views = dict(size=(a.image, a.image), **common.clip_statistics(a))
  return ml_collections.ConfigDict(
    dict(
      **common.clips(a, part(frames.dense, frames=a.frames, stride=a.stride)),
      augment=part(clip_views.multi_scale_crop, **views),
      view=part(clip_views.center, **views),
    )
  )


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training clip."""
  tokenizer, encoder, predictor = c.parts.tokenizer, c.parts.encoder, c.parts.predictor
  times = c.data.train.sample.frames // tokenizer.tubelet
  cells = math.prod(side // c.patch for side in c.data.augment.size)
  n, m = times * cells, times * tubes.hidden_cells(cells, c.objective.mask.ratio)
  d, w, e = tokenizer.width, predictor.width, predictor.target_width
  forward = (
    cost.dense(n, e, d)
    + cost.stack(n - m, d, encoder.stack.depth, encoder.stack.mlp_ratio)
    + cost.dense(n - m, d, w)
    + cost.stack(n, w, predictor.stack.depth, predictor.stack.mlp_ratio)
    + cost.dense(m, w, e)
  )
  return cost.TRAIN * forward
