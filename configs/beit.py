"""BEiT: BERT Pre-Training of Image Transformers (Bao et al., ICLR 2022, arXiv 2106.08254).

Reference implementation: github.com/microsoft/unilm, beit (MIT; not copied).
Run:       mim-jax train --config=configs/beit.py:size=B,teacher=runs/codebook_b \
             --workdir=runs/beit_b
Laptop:    mim-jax train --config=configs/beit.py:dataset=digits --workdir=runs/beit_digits
Cost:      3 x student on all tokens, codes once, 144.2 GFLOP an image for B/16 with the codes of a
           B/16, at 224 pixels (160 with DALL-E's, as published).
Published: fine-tuning on ImageNet-1k 83.2 / 85.2 % (B, L; 800 epochs, DALL-E's codes).
Ours:      not run on ImageNet yet.

The codes are those of a finished run of configs/codebook.py, `teacher=FOLDER`, for no network of
others comes with mim_jax. The embedded digits need none: without one a codebook drawn at random
stands in, which shows that all works and teaches less. On digits, make one first:
           mim-jax train --config=configs/codebook.py:dataset=digits --workdir=runs/codebook
and add teacher=runs/codebook. As in BEiT v2, masks have exactly 75 of 196 patches (here mostly as
blocks leave them, 74.5 on average). Colours change behind the crop, not before it.
"""

import ml_collections

from mim_jax import config as config_lib
from mim_jax import (
  encoders,
  errors,
  losses,
  masks,
  objectives,
  predictors,
  schedules,
  targets,
  teachers,
)
from mim_jax import tokenizers as tokenizers_lib
from mim_jax import layers
from mim_jax.config import part
from mim_jax.configs import codebook, common
from mim_jax.data.image import coloured
from mim_jax.masks import blocks
from mim_jax.ops import cost, resize
from mim_jax.optim import optimizers
from mim_jax.weights import native

# README of the reference. Rate and its end are absolute, at this batch.
EPOCHS, BATCH, WARMUP, RATE, END = 800, 2048, 10, 1.5e-3, 1e-5
LAYER_SCALE = dict(nano=None, tiny=None, L=1e-5, H=1e-5)
UNNAMED = "teacher=FOLDER"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """BEiT at `size` on `dataset`, with the codes of `teacher`; see common.ARGUMENTS."""
  a = common.arguments(arg, teacher="")
  a.epochs = a.epochs or EPOCHS
  c = common.base(a)
  small = a.size in common.LAPTOP
  if not small:
    c.train.batch_size = BATCH
  if a.dataset != "digits":
    c.data.augment = part(
      coloured.crop_flip_and_jitter, size=(a.image, a.image), **common.statistics(a.channels)
    )
  c.teachers.codes = frozen(a)
  network = teacher_of(c, a.size)
  mask = part(masks.block_wise)
  target = part(targets.codes, view=view(c, network))
  c.objective = part(
    objectives.predict_masked, entry="image", mask=mask, target=target, loss=part(losses.cross_entropy)
  )
  c.parts = parts(c, a, network.parts.quantizer.codes)
  rate = common.scaled(c, 2e-3) if small else common.scaled(c, RATE, BATCH)
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(schedules.cosine, peak=rate, end=END, warmup=min(WARMUP / a.epochs, 0.1)),
    weight_decay=part(schedules.constant, value=0.05),
    clip=3.0,
    decay=((r"(bias|scale|class_token)$", 0.0), (r"(kernel|table|mask_token)$", 1.0)),
  )
  return c


def parts(c, a, codes: int) -> dict:
  """The networks; all kernels and tokens start alike."""
  size, small = common.SIZES[a.size], a.size in common.LAPTOP
  # A narrow network would start too small by the published rule, and learn late.
  shared = dict(dtype=c.train.get_ref("dtype"), kernel_init="xavier" if small else "trunc_normal")
  return dict(
    tokenizer=part(
      tokenizers_lib.ImagePatches, patch=c.get_ref("patch"), width=size["width"], **shared
    ),
    encoder=common.network(
      encoders.ViT,
      depth=size["depth"],
      heads=size["heads"],
      masking=part(layers.Replace),
      layer_scale=LAYER_SCALE.get(a.size, 0.1),
      drop_path=0.0 if small else 0.1,
      positions=part(layers.NoPositions),
      relative=part(layers.RelativeTable),
      key_bias=False,
      **shared,
    ),
    predictor=part(predictors.Linear, target_width=codes, **shared),
  )


def frozen(a) -> ml_collections.ConfigDict:
  """The node of the network that gives the codes."""
  if a.teacher:
    return part(teachers.FromRun, **native.pinned(a.teacher))
  if a.dataset != "digits":
    return part(teachers.FromRun, path=UNNAMED)  # refused when it is needed, with what to do
  arg = f"dataset=digits,size={a.size},image={a.image},patch={a.patch}"
  image = (a.image, a.image, a.channels)
  return part(teachers.Untrained, config="codebook", arg=arg, image=image, seed=1, whole=True)


def teacher_of(c, size: str) -> ml_collections.ConfigDict:
  """The config of the codes' network; one that is still to be named is taken to be of our size."""
  node = c.teachers.codes
  if "config" in node:
    return config_lib.get_config(node.config, node.arg)
  if node.path != UNNAMED:
    return native.load(node.path, node.sha256)[1]
  side = c.data.augment.size[0]
  return codebook.get_config(f"size={size},image={side},patch={c.patch}")


def view(c, network) -> ml_collections.ConfigDict:
  """From our images to the codebook's: its pixels a patch on our grid, its mean and deviation.

  InputError where that is another grid than the codebook's.
  """
  ours, theirs = (tuple(s // x.patch for s in x.data.view.size) for x in (c, network))
  if ours != theirs:
    raise errors.InputError(
      f"config argument teacher: its codes lie on a grid of {theirs}, the student's patches on one "
      f"of {ours}. Give image and patch so that both are the same, or train another codebook."
    )
  seen, wanted = ((tuple(x.mean), tuple(x.std)) for x in (c.data.view, network.data.view))
  return part(resize.teacher_view, size=tuple(network.data.view.size), seen=seen, wanted=wanted)


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image: the student three times, the codes once."""
  encoder, n, d = c.parts.encoder, common.tokens(c), c.parts.tokenizer.width
  pixels = c.patch**2 * len(c.data.view.mean)
  grid = tuple(side // c.patch for side in c.data.augment.size)
  m = blocks.hidden_count(grid, c.objective.mask.ratio)
  student = (
    cost.dense(n, pixels, d)
    + cost.stack(encoder.class_tokens + n, d, encoder.stack.depth, encoder.stack.mlp_ratio)
    + cost.dense(m, d, c.parts.predictor.target_width)
  )
  size = next(name for name, known in common.SIZES.items() if known["width"] == d)
  return cost.TRAIN * student + sum(codebook.coding_flops(teacher_of(c, size), n))
