"""SparK: Designing BERT for Convolutional Networks (Tian et al., ICLR 2023, arXiv 2301.03580).

Reference: github.com/keyu-tian/SparK (MIT), whose numbers these are; ConvNeXt of arXiv 2201.03545,
           section 2.7, ResNet of 1512.03385, table 1.
Published: fine-tuning on ImageNet-1k 80.6 (ResNet-50), 84.1 / 84.8 / 85.4 % (ConvNeXt-S, B, L; 1600
           epochs).

network=NAME of those below; "" is the ConvNeXt of `size`. Masking saves nothing: hidden sites are
computed and set to zero.
"""

from mim_jax import (
  encoders,
  errors,
  losses,
  masks,
  objectives,
  optim,
  predictors,
  schedules,
  targets,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import recipe

NEXT, RES = encoders.ConvNeXt, encoders.ResNet
NETWORKS = dict(
  convnext_t=(NEXT, dict(depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), drop_path=0.1)),
  convnext_s=(NEXT, dict(depths=(3, 3, 27, 3), widths=(96, 192, 384, 768), drop_path=0.2)),
  convnext_b=(NEXT, dict(depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), drop_path=0.3)),
  convnext_l=(NEXT, dict(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536), drop_path=0.4)),
  resnet50=(RES, dict(depths=(3, 4, 6, 3), drop_path=0.05)),
  resnet101=(RES, dict(depths=(3, 4, 23, 3), drop_path=0.08)),
  resnet152=(RES, dict(depths=(3, 8, 36, 3), drop_path=0.1)),
  resnet200=(RES, dict(depths=(3, 24, 36, 3), drop_path=0.15)),
)
# On a laptop a small network of the same kind: width of the first stage, blocks a stage. It has as
# many stages as the patch has halvings, at most four.
SMALL, SMALLER = dict(nano=(16, 1), tiny=(24, 2)), dict(nano="resnet50", tiny="resnet50")
LAPTOP = {
  "parts.encoder": lambda c, a: small(c, a),
  "parts.predictor.width": dict(nano=16, tiny=32),
  "optimizer.learning_rate.peak": 1e-2,
}
EMBEDDED = {"train.steps": lambda c, a: min(a.steps, 500) or None}  # they take a CPU long


def get_config(arg: str = ""):
  """SparK."""
  # The stride of the network; smaller for smaller images.
  stride = lambda a: 32 if a.image >= 128 else max(4, a.image // 8)
  own = dict(network=lambda a: SMALLER.get(a.size, f"convnext_{a.size.lower()}"), patch=stride)
  c, a = recipe.start(arg, **own, epochs=1600, batch_size=4096)
  recipe.augment(c, a, scale=(0.67, 1.0))
  if a.network not in NETWORKS:
    raise errors.unknown("config argument network", a.network, NETWORKS)
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  c.objective = part(
    objectives.predict_masked,
    entry="image",
    mask=part(masks.random, ratio=0.6, rounding="nearest"),
    target=part(targets.pixels, patch=patch, normalize=True),
    loss=part(losses.squared_error),
  )
  kind, shape = NETWORKS[a.network]
  norm = "batch" if kind is RES else "layer"
  unet = dict(width=768, patch=patch, channels=a.channels, norm=norm, dtype=dtype)
  c.parts = dict(
    tokenizer=part(tokenizers.Cells, patch=patch),
    encoder=part(kind, **shape, patch=patch, dtype=dtype),
    predictor=part(predictors.UNet, **unet),
  )
  peak = recipe.scaled(c, 2e-4)
  rate = dict(peak=peak, start=0.005 * peak, end=0.001 * peak, warmup=recipe.share(c, a, 40, 0.1))
  c.optimizer = part(
    optim.lamb,
    learning_rate=part(schedules.cosine, **rate),
    weight_decay=part(schedules.cosine, peak=0.04, end=0.2),
    b2=0.95 if norm == "batch" else 0.999,
    clip=5.0,
    weight_decay_rules=((r"(bias|scale|token)$", 0.0), (r"kernel$", 1.0)),
  )
  return recipe.finish(c, a, laptop=LAPTOP, embedded=EMBEDDED)


def small(c, a):
  """The encoder of a laptop: few blocks, all of which work at once."""
  width, depth = SMALL[a.size]
  kind = NETWORKS[a.network][0]
  stages = lambda p: min(p.bit_length(), 4)
  made = dict(patch=c.get_ref("patch"), dtype=c.train.get_ref("dtype"))
  made["depths"] = recipe.follow(lambda p: (depth,) * stages(p), c.get_ref("patch"))
  if kind is RES:
    return part(kind, **made, width=width, zero_scale=False)
  widths = lambda p: tuple(width << stage for stage in range(stages(p)))
  return part(kind, **made, widths=recipe.follow(widths, c.get_ref("patch")))
