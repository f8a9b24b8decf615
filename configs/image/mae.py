"""MAE: Masked Autoencoders Are Scalable Vision Learners (He et al., CVPR 2022, arXiv 2111.06377).

Reference: github.com/facebookresearch/mae (not copied: CC BY-NC).
Numbers:   PRETRAIN.md of the reference, the released models; decoder of table 1.
Published: fine-tuning on ImageNet-1k 83.6 / 85.9 / 86.9 % (B, L, H; 1600 epochs); linear probe 68.0
           / 75.8 / 76.6 %.
"""

from mim_jax import losses, masks, objectives, predictors, targets
from mim_jax.config import part
from mim_jax.configs import recipe

# The embedded digits have patches of 4 pixels, most of them blank: their plain values teach more.
EMBEDDED = {"objective.target.normalize": False}


def start(arg: str, **other):
  """MAE but for its end."""
  c, a = recipe.start(arg, **dict(epochs=1600, batch_size=4096) | other)
  c.objective = part(
    objectives.predict_masked,
    entry="image",
    mask=part(masks.random, ratio=0.75),
    target=part(targets.pixels, patch=c.get_ref("patch"), normalize=True),
    loss=part(losses.squared_error),
  )
  c.parts = recipe.vit(c, a)
  c.parts.predictor = recipe.decoder(c, a, predictors.Transformer, width=512, depth=8, heads=16)
  c.optimizer = recipe.adamw(c, a, 1.5e-4, warmup=40, b2=0.95)
  return c, a


def get_config(arg: str = ""):
  """MAE."""
  c, a = start(arg)
  return recipe.finish(c, a, embedded=EMBEDDED)
