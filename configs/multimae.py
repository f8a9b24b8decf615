"""MultiMAE: Multi-modal Multi-task Masked Autoencoders (Bachmann et al., ECCV 2022, arXiv
2204.01678).

Reference implementation: github.com/EPFL-VILAB/MultiMAE (not copied: CC BY-NC).
Run:       mim-jax train --config=configs/multimae.py:path=FOLDER --workdir=runs/multimae_b
           FOLDER has the sub-folders image, depth and semantic, in which files have the same names.
Laptop:    mim-jax train --config=configs/multimae.py:dataset=digits --workdir=runs/multimae
           Depth and classes are made from the digits: distance from the ink, brightness and border.
           With dataset=arrays,path=FILE.npz so of your own images, up to 64 pixels a side.
Cost:      3 x forward, 67.0 GFLOP an image for B/16 at 224 pixels (98 of 588 patches visible).
Published: fine-tuning on ImageNet-1k 83.3 %, ADE20K 46.2 mIoU (B, 1600 epochs); semantic
           segmentation on NYUv2 52.0 / 41.4 / 56.0 mIoU from colour / depth / both.
Ours:      not run on ImageNet yet.

What is encoded in evaluations is the image alone; `--config.encode.signals` names other subsets.
"""

import ml_collections

from mim_jax import (
  encoders,
  errors,
  losses,
  masks,
  schedules,
  targets,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import common
from mim_jax.data.pool import map_views as views
from mim_jax.data.pool import paired_folders, pseudo
from mim_jax.methods import multimae
from mim_jax.ops import cost
from mim_jax.optim import optimizers

SIGNALS = ("image", "depth", "semantic")
# Elsewhere 256 wide, 2 blocks of self-attention, 8 heads.
DECODERS = dict(nano=dict(width=16, depth=1, heads=2), tiny=dict(width=64, depth=2, heads=4))
# cfgs/pretrain of the reference; the rate is for 256 images.
EPOCHS, WARMUP, RATE, BATCH, VISIBLE = 1600, 40, 1e-4, 2048, 1 / 6
CLASSES, CLASS_WIDTH = 133, 64  # of COCO's panoptic labels


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """MultiMAE at `size` on digits, arrays or a folder of pairs; `classes` of the semantic maps."""
  a = common.arguments(arg, epochs=EPOCHS, dataset="folder", classes=CLASSES)
  a.classes = a.classes if a.dataset == "folder" else pseudo.CLASSES
  coarser = 4 if a.image >= 128 and a.patch % 4 == 0 else 1
  c = common.base(a)
  c.data = data(a, coarser)
  if a.size not in common.LAPTOP:
    c.train.batch_size = BATCH
  rate = 2e-3 if a.size in common.LAPTOP else RATE
  mask = part(masks.dirichlet, visible=int(len(SIGNALS) * common.tokens(c) * VISIBLE))
  tasks = the_tasks(c.get_ref("patch"), coarser)
  c.objective = part(multimae.predict_modalities, modalities=SIGNALS, mask=mask, tasks=tasks)
  c.parts = parts(c, a, coarser)
  c.encode = part(multimae.encode_modalities, modalities=("image",))
  c.optimizer = part(
    optimizers.adamw,
    learning_rate=part(
      schedules.cosine,
      peak=common.scaled(c, rate),
      warmup=min(WARMUP / a.epochs, 0.1),
    ),
    weight_decay=part(schedules.constant, value=0.05),
    b2=0.95,
    decay=((".*", 1.0),),  # also of biases, norms and tokens, as in the reference
  )
  return c


def the_tasks(patch, coarser: int) -> dict:
  """What is predicted of which signal; pixels twice, by two predictors."""
  return dict(
    image=dict(
      entry="image",
      target=part(targets.pixels, patch=patch, normalize=False),
      loss=part(losses.squared_error),
    ),
    image_normalized=dict(
      entry="image",
      target=part(targets.pixels, patch=patch, normalize=True),
      loss=part(losses.squared_error),
    ),
    depth=dict(
      entry="depth",
      target=part(targets.pixels, patch=patch, normalize=False, entry="depth"),
      loss=part(losses.absolute_error),
    ),
    semantic=dict(
      entry="semantic",
      target=part(targets.class_ids, patch=patch // coarser),
      loss=part(losses.pixel_cross_entropy),
    ),
  )


def parts(c, a, coarser: int) -> dict:
  """A tokenizer a signal, one encoder without a last norm, a predictor a task."""
  size = common.SIZES[a.size]
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  small = patch // coarser
  pixels = dict(patch=patch, width=size["width"], dtype=dtype)
  decoder = DECODERS.get(a.size, dict(width=256, depth=2, heads=8))
  numbers = dict(image=patch**2 * a.channels, depth=patch**2, semantic=small**2 * a.classes)
  numbers["image_normalized"] = numbers["image"]
  return dict(
    tokenizers=dict(
      image=part(tokenizers.ImagePatches, **pixels),
      depth=part(tokenizers.ImagePatches, **pixels),
      semantic=part(
        tokenizers.ClassPatches,
        **pixels | dict(patch=small),
        classes=a.classes,
        class_width=16 if a.size in common.LAPTOP else CLASS_WIDTH,
      ),
    ),
    encoder=common.network(
      encoders.ViT,
      depth=size["depth"],
      heads=size["heads"],
      norm="none",
      kernel_init="xavier_per_projection",
      dtype=dtype,
    ),
    predictors={
      name: common.network(
        multimae.MultimodalDecoder,
        **decoder,
        kernel_init="xavier_per_projection",
        target_width=width,
        dtype="float32" if name == "semantic" else dtype,  # as in the reference
      )
      for name, width in numbers.items()
    },
  )


def data(a, coarser: int) -> ml_collections.ConfigDict:
  """Sources and views that have all signals."""
  d = common.data(a)
  if a.dataset == "digits":
    d.train, d.test = (part(pseudo.digits_with_maps, split=s) for s in ("train", "test"))
  elif a.dataset == "arrays":
    d.train, d.test = (
      part(pseudo.arrays_with_maps, path=a.path, split=s) for s in ("train", "test")
    )
  elif a.dataset == "folder":
    settings = dict(path=a.path, canvas=2 * a.image, channels=a.channels, ids=a.classes)
    d.train, d.test = (part(paired_folders.paired, split=s, **settings) for s in ("train", "test"))
  else:
    raise errors.unknown(
      "config argument dataset",
      a.dataset,
      ("arrays", "digits", "folder"),
      "MultiMAE needs paired signals.",
    )
  for name, view in (("augment", views.crop_and_flip), ("view", views.center_crop)):
    settings = {key: value for key, value in d[name].items() if key != "part"}
    d[name] = part(view, **settings, coarser=coarser)
  return d


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image."""
  encoder, tokenizer, channels = c.parts.encoder, c.parts.tokenizers, len(c.data.view.mean)
  n, d, v = common.tokens(c), tokenizer.image.width, c.objective.mask.visible
  k, classes = encoder.class_tokens, tokenizer.semantic
  width = c.patch**2 * (channels + 1) + classes.patch**2 * classes.class_width
  forward = cost.dense(n, width, d) + cost.stack(v + k, d, encoder.stack.depth, encoder.stack.mlp_ratio)
  for predictor in c.parts.predictors.values():
    w = predictor.width
    forward += (
      cost.dense(v + k, d, w)
      + cost.attention(n, w, v + k)
      + cost.mlp(n, w, predictor.stack.mlp_ratio)
      + cost.stack(n, w, predictor.stack.depth, predictor.stack.mlp_ratio)
      + cost.dense(n, w, predictor.target_width)
    )
  return cost.TRAIN * forward
