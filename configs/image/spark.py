"""SparK: Designing BERT for Convolutional Networks (Tian et al., ICLR 2023, arXiv 2301.03580).

Reference: github.com/keyu-tian/SparK (MIT), whose numbers these are; ConvNeXt of arXiv 2201.03545,
           section 2.7, ResNet of 1512.03385, table 1.
Published: fine-tuning on ImageNet-1k 80.6 (ResNet-50), 84.1 / 84.8 / 85.4 % (ConvNeXt-S, B, L; 1600
           epochs).

network=NAME of configs/image/convnets.py; "" is the ConvNeXt of `size`. Masking saves nothing:
hidden sites are computed and set to zero.
"""

from mim_jax import losses, masks, objectives, optim, predictors, schedules, targets, tokenizers
from mim_jax.config import part
from mim_jax.configs import recipe

convnets = recipe.sibling("convnets")

LAPTOP = {
  "parts.encoder": lambda c, a: convnets.small(c, a),
  "parts.predictor.width": dict(nano=16, tiny=32),
  "optimizer.learning_rate.peak": 1e-2,
}
EMBEDDED = {"train.steps": lambda c, a: min(a.steps, 500) or None}  # they take a CPU long


def get_config(arg: str = ""):
  """SparK."""
  # The stride of the network; smaller for smaller images.
  stride = lambda a: 32 if a.image >= 128 else max(4, a.image // 8)
  own = dict(network=convnets.named, patch=stride)
  c, a = recipe.start(arg, **own, epochs=1600, batch_size=4096)
  recipe.augment(c, a, scale=(0.67, 1.0))
  patch, dtype = c.get_ref("patch"), c.train.get_ref("dtype")
  c.objective = part(
    objectives.predict_masked,
    entry="image",
    mask=part(masks.random, ratio=0.6, rounding="nearest"),
    target=part(targets.pixels, patch=patch, normalize=True),
    loss=part(losses.squared_error),
  )
  encoder, norm = convnets.network(c, a)
  unet = dict(width=768, patch=patch, channels=a.channels, norm=norm, dtype=dtype)
  c.parts = dict(tokenizer=part(tokenizers.Cells, patch=patch), encoder=encoder)
  c.parts.predictor = part(predictors.UNet, **unet)
  peak = recipe.scaled(c, 2e-4)
  rate = dict(peak=peak, start=0.005 * peak, end=0.001 * peak, warmup=recipe.share(c, a, 40, 0.1))
  c.optimizer = part(
    optim.lamb,
    learning_rate=part(schedules.cosine, **rate),
    weight_decay=part(schedules.cosine, peak=0.04, end=0.2),
    b2=dict(batch=0.95, layer=0.999)[norm],
    clip=5.0,
    weight_decay_rules=((r"(bias|scale|token)$", 0.0), (r"kernel$", 1.0)),
  )
  return recipe.finish(c, a, laptop=LAPTOP, embedded=EMBEDDED)
