"""MaskAlign: Stare at What You See: Masked Image Modeling without Reconstruction (Xue et al., CVPR
2023, arXiv 2211.08887).

Reference implementation: github.com/OpenDriveLab/maskalign (not copied: built on MAE's, CC BY-NC).
Run:       mim-jax train --config=configs/maskalign.py:size=B,teacher=runs/mae_b
           --workdir=runs/maskalign_b
Laptop:    mim-jax train --config=configs/maskalign.py:dataset=digits --workdir=runs/maskalign
Cost:      3 x student + teacher, 67.3 GFLOP an image for B/16 with a B/16 teacher, at 224 pixels.
Published: fine-tuning on ImageNet-1k 85.4 / 86.5 / 87.4 % (B and L by CLIP-B/16, L by CLIP-L/14;
           200 epochs).
Ours:      not run on ImageNet yet.

The teacher is a network with a class token, `teacher=FOLDER`: a finished run, or published weights,
e.g. CLIP's or DINOv2's as transformers has them (others: `mim-jax convert` first). It is pinned by
its hash, and sees images normalised as it wants them, at the size that gives it the student's patch
grid. The embedded digits need none: a
network drawn at random stands in, which shows that all works and teaches nothing.
"""

import ml_collections

from mim_jax import config as config_lib
from mim_jax import (
  encoders,
  losses,
  masks,
  schedules,
  teachers,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.masks import uniform
from mim_jax.methods import maskalign
from mim_jax.ops import cost, resize
from mim_jax.optim import optimizers
from mim_jax.weights import native

# README of the reference; the rate is for 256 images. The teacher's last layers count.
EPOCHS, BATCH, WARMUP, RATE, LAST = 200, 1024, 20, 1.5e-4, 5
UNNAMED = "teacher=FOLDER"
DROP_PATH = dict(nano=0.0, tiny=0.0, L=0.2)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """MaskAlign at `size` on `dataset`, by `teacher`; see common.ARGUMENTS."""
  a = common.arguments(arg, epochs=EPOCHS, teacher="")
  c = common.base(a)
  small = a.size in common.LAPTOP
  if not small:
    c.train.batch_size = BATCH
  depth, dtype = common.SIZES[a.size]["depth"], c.train.get_ref("dtype")
  c.teachers.frozen = frozen(a)
  if "path" in c.teachers.frozen:
    c.teachers.frozen.dtype = dtype
  c.parts = student(c, a.size)
  network = teacher_of(c)
  start = "own" if network.parts.encoder.stack.depth == depth else "mean"
  last = tuple(range(-min(LAST, network.parts.encoder.stack.depth), 0))
  c.parts.predictor = part(
    maskalign.DynamicAlignment,
    width=network.parts.tokenizer.width,
    rows=last,
    start=start,
    dtype=dtype,
  )

  mask = part(masks.attention_sampled, ratio=0.7)
  target = part(maskalign.attended_layers, layers=last, view=view(c, network))
  c.objective = part(
    maskalign.distill_visible, entry="image",
    mask=mask,
    target=target,
    loss=part(losses.smooth_l1, scale=2.0),
    layers=tuple(range(1, depth + 1)),
  )
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(
      schedules.cosine,
      peak=common.scaled(c, 2e-3 if small else RATE),
      end=1e-5,
      warmup=min(WARMUP / a.epochs, 0.1),
    ),
    weight_decay=part(schedules.constant, value=0.05),
    b2=0.95,
    decay=(("mixing$", 0.0), *optimizers.DECAY),
  )
  return c


def student(c, size: str) -> dict:
  """The networks that are trained, but for the map to the teacher's features."""
  shape, dtype = common.SIZES[size], c.train.get_ref("dtype")
  return dict(
    tokenizer=part(
      tokenizers.ImagePatches, patch=c.get_ref("patch"), width=shape["width"], dtype=dtype
    ),
    # The last norm is not trained: a plain one stands before probes, as after the reference's.
    encoder=common.network(
      encoders.ViT,
      depth=shape["depth"],
      heads=shape["heads"],
      drop_path=DROP_PATH.get(size, 0.1),
      norm="plain",
      record=("unnormed",),
      dtype=dtype,
    ),
  )


def frozen(a) -> ml_collections.ConfigDict:
  """The teacher's node."""
  if a.teacher:
    return part(teachers.FromRun, **native.pinned(a.teacher))
  if a.dataset != "digits":
    return part(teachers.FromRun, path=UNNAMED)  # refused when it is needed, with what to do
  arg = f"dataset=digits,size={a.size},image={a.image},patch={a.patch}"
  image = (a.image, a.image, a.channels)
  return part(teachers.Untrained, config="mae", arg=arg, image=image, seed=1)


def teacher_of(c) -> ml_collections.ConfigDict:
  """The config of the teacher's parts; one that is still to be named is taken to be as ours."""
  node = c.teachers.frozen
  if "config" in node:
    return config_lib.get_config(node.config, node.arg)
  return c if node.path == UNNAMED else native.load(node.path, node.sha256)[1]


def view(c, network) -> ml_collections.ConfigDict:
  """From our images to the teacher's: its pixels a patch on our grid, its mean and deviation."""
  patch = network.parts.tokenizer.patch
  seen, wanted = ((tuple(x.mean), tuple(x.std)) for x in (c.data.view, network.data.view))
  size = tuple(side // c.patch * patch for side in c.data.augment.size)
  return part(resize.teacher_view, size=size, seen=seen, wanted=wanted)


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image: the student three times, the teacher once."""
  encoder, aligner, network = c.parts.encoder, c.parts.predictor, teacher_of(c)
  n, d, e, channels = (
    common.tokens(c),
    c.parts.tokenizer.width,
    aligner.width,
    len(c.data.view.mean),
  )
  v, k = uniform.visible_count(n, c.objective.mask.ratio), encoder.class_tokens
  student = cost.dense(n, c.patch**2 * channels, d)
  student += cost.stack(k + v, d, encoder.stack.depth, encoder.stack.mlp_ratio)
  student += len(aligner.rows) * (cost.dense(k + v, d, e) + cost.dense(k + v, encoder.stack.depth, d))
  whole = cost.dense(n, network.parts.tokenizer.patch**2 * channels, e)
  whole += cost.stack(k + n, e, network.parts.encoder.stack.depth)
  return cost.TRAIN * student + whole
