"""CropMAE: Efficient Image Pre-Training with Siamese Cropped Masked Autoencoders
(Eymaël et al., ECCV 2024, arXiv 2403.17823).
With views=frames, SiamMAE: Siamese Masked Autoencoders (Gupta et al., NeurIPS 2023, arXiv
2305.14344): the two views are two frames of a clip instead of two crops of an image.

Reference: github.com/alexandre-eymael/CropMAE (not copied: parts are CC BY-NC). It also holds the
           re-implementation of SiamMAE, which has no code of its own.
Numbers:   scripts of the reference, whose decoder is the same whatever the encoder.
Published: label propagation with S/16: DAVIS 60.4 J&F, VIP 33.3 mIoU, JHMDB 43.6 PCK@0.1 (CropMAE
           on ImageNet-1k, 400 epochs). No ImageNet accuracy is claimed.
Differs:   views are resampled with the bicubic kernel of all our views, and the first step has the
           first rate of the schedule, not the peak.
"""

from mim_jax import losses, masks, objectives, predictors, schedules, targets
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.data import image
from mim_jax.modalities import video

VIEWS = dict(
  crops=dict(modality="image", entry="crop", ratio=0.985),
  frames=dict(modality="video", entry="image", ratio=0.95),
)
OWN = dict(views="crops", size="S", epochs=400, batch_size=2048)
OWN["patch"] = lambda a: 16 if a.image >= 128 else max(2, a.image // 8)
LAPTOP = {"parts.predictor.hidden": dict(nano=64, tiny=256)}
CROPS = {"data.augment.outer": (0.6, 1.0), "data.augment.flip": False}


def get_config(arg: str = ""):
  """CropMAE, or SiamMAE with views=frames."""
  c, a = recipe.start(arg, lambda a: VIEWS.get(a.views, VIEWS["crops"])["modality"], **OWN)
  own = recipe.chosen(a, "views", VIEWS)
  if a.views == "crops":
    norm = {key: c.data.view.get_ref(key) for key in ("size", "mean", "std")}
    c.data.augment = part(image.global_and_local, **norm)
    c.data.view = part(image.center_with_crop, resize=c.data.view.resize, **norm)
    del c.data.crop  # the host cuts no pairs
  else:
    c.data = video.pairs(a)
  c.objective = part(
    objectives.predict_from_context,
    entry=own["entry"],
    mask=part(masks.random_keep_few, ratio=own["ratio"]),
    target=part(targets.pixels, patch=c.get_ref("patch"), entry=own["entry"]),
    loss=part(losses.squared_error),
  )
  c.parts = recipe.vit(c, a)
  shape = dict(width=256, depth=4, heads=8, hidden=2048)
  c.parts.predictor = recipe.decoder(c, a, predictors.CrossTransformer, **shape)
  rate = part(schedules.cosine, peak=recipe.scaled(c, 1e-4), warmup=0.05)
  c.optimizer = recipe.adamw(c, a, rate, b2=0.95)
  return recipe.finish(c, a, laptop=LAPTOP, embedded=CROPS if a.views == "crops" else {})
