"""SimMIM: A Simple Framework for Masked Image Modeling (Xie et al., CVPR 2022, arXiv 2111.09886).

Reference: github.com/microsoft/SimMIM (MIT; not copied).
Numbers:   configs/*.yaml of the reference, rates for 512 images; beyond 100 epochs the rate is
           constant and falls to a tenth once, after 700 of 800.
Published: fine-tuning on ImageNet-1k 83.8 % (ViT-B, 800 epochs), 82.8 / 84.0 % (Swin-B, 100 / 800
           epochs), 85.4 % (Swin-L); linear probe 56.7 % (ViT-B, 8th block).
Differs:   images are resized with the bicubic kernel, not the bilinear one.

encoder=vit or swin.
"""

from mim_jax import layers, losses, masks, objectives, schedules, targets
from mim_jax.config import part
from mim_jax.configs import recipe

shifted = recipe.sibling("swin")

OWN = dict(
  encoder="vit",
  epochs=lambda a: dict(swin=dict(L=800).get(a.size, 100)).get(a.encoder, 800),
  image=lambda a: dict(swin=192).get(a.encoder, 224),
  patch=lambda a: dict(swin=4 if a.image >= 32 else 1).get(a.encoder, 0),
  batch_size=2048,
)
RATE = {"optimizer.learning_rate": lambda c, a: recipe.cosine(c, a, 2e-3, warmup=10)}
# A narrow ViT would start too small by the published rules, and learn late.
NARROW = {"parts.*.kernel_init": "xavier", "parts.encoder.stack.layer_scale": None}
NARROW |= {"parts.encoder.stack.drop_path": 0.0}
LAPTOP = dict(swin=RATE, vit=RATE | NARROW)


def get_config(arg: str = ""):
  """SimMIM with a ViT or a Swin."""
  c, a = recipe.start(arg, **OWN)
  kinds = dict(vit=vit, swin=swin)
  recipe.augment(c, a, scale=(0.67, 1.0))
  c.parts, unit, rules = recipe.chosen(a, "encoder", kinds)(c, a)
  target = part(targets.pixels, patch=c.get_ref("patch"), normalize=False)
  mask, loss = part(masks.random_blocks, ratio=0.6, unit=unit), part(losses.absolute_error)
  settings = dict(entry="image", mask=mask, target=target, loss=loss)
  c.objective = part(objectives.predict_masked, **settings)
  c.optimizer = recipe.adamw(c, a, learning_rate(c, a), clip=5.0, weight_decay_rules=rules)
  return recipe.finish(c, a, laptop=LAPTOP[a.encoder])


def vit(c, a) -> tuple:
  """BEiT's ViT with a linear head; squares of 32 pixels, or a seventh of small images."""
  settings = dict(positions=part(layers.NoPositions), relative=part(layers.RelativeTable))
  settings |= dict(masking=part(layers.Replace), key_bias=False, layer_scale=0.1, drop_path=0.1)
  cut = dict(kernel_init="trunc_normal")
  parts = recipe.vit(c, a, cut, **settings, **cut)
  parts["predictor"] = recipe.linear(c, a)
  unit = lambda image, p: 32 // p if image[0] >= 128 else max(1, image[0] // p // 7)
  unit = recipe.follow(unit, c.data.augment.get_ref("size"), c.get_ref("patch"))
  return parts, unit, ((r"(bias|scale|class_token)$", 0.0), (r"(kernel|table|mask_token)$", 1.0))


def swin(c, a) -> tuple:
  """Swin; what is masked at once is the square that a latent stands for."""
  parts = shifted.parts(c, a)
  # The tables decay: an exemption is written in the reference, but matches no name.
  rules = ((r"(bias|scale|mask_token)$", 0.0), (r"(kernel|table)$", 1.0))
  return parts, parts["predictor"].get_ref("cell"), rules


def learning_rate(c, a):
  """A cosine for short runs, one step for long ones."""
  warmup, rate = recipe.share(c, a, 10, 0.1), lambda r: recipe.scaled(c, r, 512)
  if a.epochs <= 100:
    rates = dict(start=rate(1e-6), peak=rate(2e-4), end=rate(1e-5))
    return part(schedules.cosine_throughout, **rates, warmup=warmup)
  rates = dict(start=rate(5e-7), peak=rate(1e-4), at=(700 / 800,))
  return part(schedules.staircase, **rates, warmup=warmup)
