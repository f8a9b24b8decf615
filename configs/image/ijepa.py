"""I-JEPA: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture
(Assran et al., CVPR 2023, arXiv 2301.08243).

Reference: github.com/facebookresearch/ijepa (not copied: CC BY-NC).
Numbers:   configs/*.yaml of the reference, rates for 2048 images; predictors of appendix A.1 and
           table 12 there.
Published: linear probe on ImageNet-1k 72.9 / 77.5 / 79.3 % (B and L 600 epochs, H 300), of the
           teacher's mean-pooled patches.
Differs:   masks are not cut to the shortest of a batch in raster order, which there hides the
           bottom of the image from the encoder, and the last row and column are drawn too: see
           masks.multi_block. The context keeps at most 5/8 of the patches (1 image in 20 has more,
           and loses some at random), against 70 of 256 on average there: dearer, and not biased.
           Images are resized with the bicubic kernel, not the bilinear one.
"""

from mim_jax import losses, masks, objectives, predictors, schedules, targets, teachers
from mim_jax.config import part
from mim_jax.configs import recipe

PREDICTORS = dict(
  nano=dict(width=16, depth=1),
  tiny=dict(width=48, depth=2),
  S=dict(width=192, depth=6),
  B=dict(width=384, depth=6),
)
LAPTOP = {
  "parts.*.kernel_init": "xavier",  # narrow ones would start too small, and learn late
  "teachers.ema.momentum.start": 0.99,
  "optimizer.learning_rate.start": recipe.per_batch(4e-4),
  "optimizer.learning_rate.peak": recipe.per_batch(5e-3),
}
# Of 4 x 4 patches, with positions as large as their content, two or three tell little of it.
EMBEDDED = {"objective.mask.scale": (0.25, 0.4)}


def get_config(arg: str = ""):
  """I-JEPA."""
  c, a = recipe.start(arg, epochs=lambda a: dict(B=600, L=600).get(a.size, 300), batch_size=2048)
  recipe.augment(c, a, scale=(0.3, 1.0), flip=False)
  c.objective = part(
    objectives.predict_masked,
    entry="image",
    mask=part(masks.multi_block, scale=(0.15, 0.2), most=0.625),
    target=part(targets.latents, normalize=True),
    loss=part(losses.smooth_l1),
  )
  momentum = part(schedules.linear, start=0.996, end=1.0)
  c.teachers.ema = part(teachers.Ema, momentum=momentum)
  # Normal(0.02), which is what the reference's two passes come to.
  c.parts = recipe.vit(c, a, dict(kernel_init="normal"), class_tokens=0, kernel_init="normal")
  shape = dict(heads=recipe.SIZES[a.size]["heads"], target_width=recipe.SIZES[a.size]["width"])
  shape |= recipe.by_size(a, PREDICTORS, dict(width=384, depth=12))
  c.parts.predictor = recipe.network(c, predictors.Transformer, **shape, kernel_init="normal")
  start = recipe.scaled(c, 2e-4 * 256 / 2048)
  rate = recipe.cosine(c, a, 1e-3 * 256 / 2048, warmup=40, most=0.15, start=start, end=1e-6)
  decay = part(schedules.cosine, peak=0.04, end=0.4)
  c.optimizer = recipe.adamw(c, a, rate, weight_decay=decay)
  return recipe.finish(c, a, laptop=LAPTOP, embedded=EMBEDDED)
