"""BEiT: BERT Pre-Training of Image Transformers (Bao et al., ICLR 2022, arXiv 2106.08254).

Reference: github.com/microsoft/unilm, beit (MIT; not copied).
Numbers:   README of the reference; rate and its end are absolute, at this batch.
Published: fine-tuning on ImageNet-1k 83.2 / 85.2 % (B, L; 800 epochs, DALL-E's codes).
Differs:   as in BEiT v2, masks have exactly 75 of 196 patches (here mostly as blocks leave them,
           74.5 on average). Colours change behind the crop, not before it.

The codes are those of a finished run of the config `codebook`, `teacher=FOLDER`, for no network of
others comes with mim_jax. The embedded data need none: without one a codebook drawn at random
stands in, which shows that all works and teaches less. To have one on the digits, first
           mim-jax train --config=codebook:dataset=digits --workdir=runs/codebook
"""

from mim_jax import layers, losses, masks, objectives, predictors, targets
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.data import image

# A narrow network would start too small by the published rule, and learn late.
LAPTOP = {
  "parts.*.kernel_init": "xavier",
  "parts.encoder.stack.layer_scale": None,
  "parts.encoder.stack.drop_path": 0.0,
}


def get_config(arg: str = ""):
  """BEiT with the codes of `teacher`."""
  c, a = recipe.start(arg, epochs=800, batch_size=2048, teacher="")
  recipe.augment(c, a, image.crop_flip_and_jitter)
  codebook = recipe.teacher(c, a, "codes", stand_in="codebook", whole=True)
  c.objective = part(
    objectives.predict_masked,
    entry="image",
    mask=part(masks.block_wise),
    target=part(targets.codes, view=recipe.teacher_view(c, codebook, same_grid=True)),
    loss=part(losses.cross_entropy),
  )
  scale = recipe.by_size(a, dict(L=1e-5, H=1e-5), 0.1)
  settings = dict(positions=part(layers.NoPositions), relative=part(layers.RelativeTable))
  settings |= dict(masking=part(layers.Replace), key_bias=False, kernel_init="trunc_normal")
  c.parts = recipe.vit(
    c, a, dict(kernel_init="trunc_normal"), **settings, layer_scale=scale, drop_path=0.1
  )
  codes = dict(target_width=codebook.parts.quantizer.codes, kernel_init="trunc_normal")
  c.parts.predictor = part(predictors.Linear, **codes, dtype=c.train.get_ref("dtype"))
  rate = recipe.cosine(c, a, 1.5e-3, warmup=10, per=2048, end=1e-5)
  decay = ((r"(bias|scale|class_token)$", 0.0), (r"(kernel|table|mask_token)$", 1.0))
  c.optimizer = recipe.adamw(c, a, rate, clip=3.0, weight_decay_rules=decay)
  return recipe.finish(c, a, laptop=LAPTOP)
