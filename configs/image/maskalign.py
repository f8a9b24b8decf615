"""MaskAlign: Stare at What You See: Masked Image Modeling without Reconstruction (Xue et al., CVPR
2023, arXiv 2211.08887).

Reference: github.com/OpenDriveLab/maskalign (not copied: built on MAE's, CC BY-NC).
Numbers:   README of the reference.
Published: fine-tuning on ImageNet-1k 85.4 / 86.5 / 87.4 % (B and L by CLIP-B/16, L by CLIP-L/14;
           200 epochs).

The teacher is a network with a class token, `teacher=FOLDER`: a finished run, or published weights,
e.g. CLIP's or DINOv2's as transformers has them (others: `mim-jax convert` first). It is pinned by
its hash, and sees images normalised as it wants them, at the size that gives it the student's patch
grid. The embedded data need none: a network drawn at random stands in, which shows that all works
and teaches nothing.
"""

from mim_jax import losses, masks, optim
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.methods import maskalign

LAPTOP = {"parts.encoder.stack.drop_path": 0.0}


def get_config(arg: str = ""):
  """MaskAlign by `teacher`."""
  c, a = recipe.start(arg, epochs=200, batch_size=1024, teacher="")
  teacher = recipe.teacher(c, a, "frozen", stand_in="mae", dtype=c.train.get_ref("dtype"))
  # The last norm is not trained: a plain one stands before probes, as after the reference's.
  drop = recipe.by_size(a, dict(L=0.2), 0.1)
  c.parts = recipe.vit(c, a, drop_path=drop, norm="plain", record=("unnormed",))
  deep, depth = teacher.parts.encoder.stack.depth, recipe.SIZES[a.size]["depth"]
  last = tuple(range(-min(5, deep), 0))  # the teacher's layers that count
  aligned = dict(width=teacher.parts.tokenizer.width, rows=last)
  aligned |= dict(start="own" if deep == depth else "mean", dtype=c.train.get_ref("dtype"))
  c.parts.predictor = part(maskalign.DynamicAlignment, **aligned)
  view = recipe.teacher_view(c, teacher)
  c.objective = part(
    maskalign.distill_visible,
    entry="image",
    mask=part(masks.attention_sampled, ratio=0.7),
    target=part(maskalign.attended_layers, layers=last, view=view),
    loss=part(losses.smooth_l1, scale=2.0),
    layers=tuple(range(1, depth + 1)),
  )
  rate = recipe.cosine(c, a, 1.5e-4, warmup=20, end=1e-5)
  c.optimizer = recipe.adamw(
    c, a, rate, b2=0.95, weight_decay_rules=(("mixing$", 0.0), *optim.DECAY)
  )
  return recipe.finish(c, a, laptop=LAPTOP)
