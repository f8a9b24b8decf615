"""SparK: Designing BERT for Convolutional Networks (Tian et al., ICLR 2023, arXiv 2301.03580).

Reference implementation: github.com/keyu-tian/SparK (MIT), whose numbers these are.
Run:       mim-jax train --config=configs/spark.py:size=B --workdir=runs/spark_b
           mim-jax train --config=configs/spark.py:network=resnet50 --workdir=runs/spark_resnet50
Laptop:    mim-jax train --config=configs/spark.py:dataset=digits --workdir=runs/digits
Cost:      3 x forward, 94.2 (ResNet-50), 114.6 / 156.3 / 273.3 GFLOP (ConvNeXt-S, B, L) an image
           at 224 pixels. Masking saves nothing: hidden sites are computed and set to zero.
Published: fine-tuning on ImageNet-1k 80.6 (ResNet-50), 84.1 / 84.8 / 85.4 % (ConvNeXt-S, B, L; 1600
           epochs).
Ours:      on the embedded digits, see experiments/digits/README.md; not run on ImageNet yet.
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
from mim_jax.ops import cost
from mim_jax.optim import optimizers

# ConvNeXt (arXiv 2201.03545, section 2.7) and ResNet (1512.03385, table 1) with SparK's drop path.
# "" is the ConvNeXt of `size`; nano and tiny are ours.
CONVNEXT = dict(
  convnext_t=dict(depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), drop_path=0.1),
  convnext_s=dict(depths=(3, 3, 27, 3), widths=(96, 192, 384, 768), drop_path=0.2),
  convnext_b=dict(depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), drop_path=0.3),
  convnext_l=dict(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536), drop_path=0.4),
)
RESNET = dict(
  resnet50=dict(depths=(3, 4, 6, 3), drop_path=0.05),
  resnet101=dict(depths=(3, 4, 23, 3), drop_path=0.08),
  resnet152=dict(depths=(3, 8, 36, 3), drop_path=0.1),
  resnet200=dict(depths=(3, 24, 36, 3), drop_path=0.15),
)
SMALL = dict(nano=(16, 1), tiny=(24, 2))  # width of the first stage, blocks a stage
DECODERS = dict(nano=16, tiny=32)  # elsewhere 768
EPOCHS, WARMUP, RATE, LAPTOP_RATE = 1600, 40, 2e-4, 1e-2  # the first rate is for 256 images


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """SparK with `network` (at nano and tiny a small one of its kind); see common.ARGUMENTS."""
  a = common.arguments(arg, epochs=EPOCHS, network="", patch=-1)
  if a.patch < 0:  # the stride of the network; smaller for smaller images
    a.patch = 32 if a.image >= 128 else max(4, common.default_patch(a.size, a.image))
  c = common.base(a)
  peak = LAPTOP_RATE if a.size in common.LAPTOP else common.scaled(c, RATE)
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  encoder, norm = network(a, patch, dtype)

  mask = part(masks.random, ratio=0.6, rounding="nearest")
  c.objective = part(
    objectives.predict_masked, entry="image",
    mask=mask,
    target=part(targets.pixels, patch=patch, normalize=True),
    loss=part(losses.squared_error),
  )
  c.parts = dict(
    tokenizer=part(tokenizers.Cells, patch=patch),
    encoder=encoder,
    predictor=part(
      predictors.UNet,
      width=DECODERS.get(a.size, 768),
      patch=patch,
      channels=a.channels,
      norm=norm,
      dtype=dtype,
    ),
  )
  c.optimizer = part(
    optimizers.lamb,
    learning_rate=part(
      schedules.cosine,
      peak=peak,
      start=0.005 * peak,
      end=0.001 * peak,
      warmup=min(WARMUP / a.epochs, 0.1),
    ),
    weight_decay=part(schedules.cosine, peak=0.04, end=0.2),
    b2=0.95 if norm == "batch" else 0.999,
    clip=5.0,
    decay=((r"(bias|scale|token)$", 0.0), (r"kernel$", 1.0)),
  )
  if a.dataset == "digits":
    c.train.steps = 500  # convolutions take a CPU long
  else:
    c.data.augment.scale = (0.67, 1.0)
  return c


def network(a, patch, dtype):
  """(the encoder, the kind of its norms) that the arguments name."""
  name = a.network or ("resnet50" if a.size in common.LAPTOP else f"convnext_{a.size.lower()}")
  if name not in CONVNEXT | RESNET:
    raise errors.unknown("config argument network", name, CONVNEXT | RESNET)
  kind, norm = (encoders.ResNet, "batch") if name in RESNET else (encoders.ConvNeXt, "layer")
  settings = (CONVNEXT | RESNET)[name]
  if a.size in common.LAPTOP:
    settings = small(a, norm)
  return part(kind, **settings, patch=patch, dtype=dtype), norm


def small(a, norm):
  """Settings of a network with as many stages as the patch has halvings, at most four."""
  width, depth = SMALL[a.size]
  stages = min(a.patch.bit_length(), 4)
  depths = (depth,) * stages
  if norm == "batch":
    return dict(depths=depths, width=width, zero_scale=False)  # few blocks: all work at once
  return dict(depths=depths, widths=tuple(width << stage for stage in range(stages)))


def flops(c: ml_collections.ConfigDict) -> float:
  """FLOPs of one training image."""
  side, encoder, predictor = c.data.augment.size[0], c.parts.encoder, c.parts.predictor
  stem = c.patch >> (len(encoder.depths) - 1)
  if "widths" in encoder:
    widths = encoder.widths
    forward = cost.convnext(side, predictor.channels, encoder.depths, widths, stem)
  else:
    widths = [4 * encoder.width << stage for stage in range(len(encoder.depths))]
    forward = cost.resnet(side, predictor.channels, encoder.depths, encoder.width, stem)
  maps = tuple(widths)[::-1]
  decoder = cost.unet(side // c.patch, predictor.channels, maps, predictor.width, c.patch)
  return cost.TRAIN * (forward + decoder)
