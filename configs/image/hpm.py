"""HPM: Hard Patches Mining for Masked Image Modeling (Wang et al., CVPR 2023, arXiv 2304.05919).

Reference: github.com/Haochen-Wang409/HPM (not copied: built on MAE's, CC BY-NC).
Numbers:   PRETRAIN.md of the reference. The teacher's momentum rises over the first 100 epochs.
Published: fine-tuning on ImageNet-1k 84.2 / 85.8 % (B, L; 800 epochs); B after 200 epochs 83.0 %.

As the reference's commands, the target is pixels as they are; the paper speaks of normalised ones:
normalize=1. "Hard" means another thing then, so say which it was with every number.
"""

from mim_jax import losses, masks, schedules, targets, teachers
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.methods import hpm

LAPTOP = {"teachers.ema.momentum": dict(start=0.99, end=0.999, end_at=1.0)}


def get_config(arg: str = ""):
  """HPM; normalize=1 for normalised pixels."""
  c, a = recipe.start(arg, epochs=800, batch_size=2048, normalize=0)
  c.objective = part(
    hpm.mine_hard_patches,
    entry="image",
    mask=part(masks.easy_to_hard, ratio=0.75, start=0.0, end=0.5),
    target=part(targets.pixels, patch=c.get_ref("patch"), normalize=bool(a.normalize)),
    loss=part(losses.squared_error),
    ranking=part(hpm.pairwise_order),
  )
  rising = dict(start=0.999, end=0.9999, end_at=recipe.share(c, a, 100))
  c.teachers.ema = part(teachers.Ema, momentum=part(schedules.linear, **rising))
  c.parts = recipe.vit(c, a)
  shape = dict(width=512, depth=8, heads=16)
  c.parts.predictor = recipe.decoder(c, a, hpm.LossPredictingDecoder, **shape)
  c.optimizer = recipe.adamw(c, a, 1.5e-4, warmup=40, b2=0.95)
  return recipe.finish(c, a, laptop=LAPTOP)
