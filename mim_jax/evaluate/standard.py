"""The standard evaluations of `mim-jax evaluate --evals=NAME`, beside those of a config."""

import ml_collections

from mim_jax.config import part
from mim_jax.data.pool import pseudo
from mim_jax.data.video import moving
from mim_jax.evaluate import frozen, trained
from mim_jax.weights import parts

DIGITS = "mim_jax.data.image.digits"
SMALL = 64  # pixels; below, images are few and crops must stay legible


def entries(config) -> dict[str, ml_collections.ConfigDict]:
  """Makes {name: node} of all standard evaluations, for a config's images and encoder."""
  crops, laptop = crops_of(config), small(config)
  tuning = dict(batch_size=128, rate=4e-3, layer_decay=0.75, drop_path=0.0) if laptop else {}
  tuning |= dict(epochs=40.0, mixup=0.0, cutmix=0.0, changes=0, erase=0.0) if laptop else {}
  depth = getattr(parts.settings(config.parts.encoder), "depth", 12)
  if not laptop and depth > 12:  # ViT-L and H: FINETUNE.md
    tuning = dict(rate=1e-3, layer_decay=0.75, epochs=50.0)
    tuning["drop_path"] = 0.2 if depth <= 24 else 0.3
  probing = dict(batch_size=128, rate=5e-3) if laptop else {}
  longer = dict(epochs=200.0, warmup=10.0) if laptop else {}
  # LARS moves a kernel by rate x 0.001 of its length: without the reference's huge batch and its
  # 7000 steps, the rate must be as high from the start.
  lars = dict(batch_size=256, rate=6.4) if laptop else {}
  pool = "class" if config.parts.encoder.get("class_tokens") else "mean"
  digits = config.data.train.get("part") == DIGITS
  maps = {s: part(pseudo.digits_with_maps, split=s) for s in ("train", "test")} if digits else {}
  clips = dict(size=moving.SIDE, radius=2.0) if digits else {}
  return dict(
    knn=part(frozen.knn),
    linear=part(frozen.linear_probe),
    linear_1pc=part(frozen.linear_probe, share=0.01),
    linear_10pc=part(frozen.linear_probe, share=0.1),
    linear_10=part(frozen.linear_probe, per_class=10),
    linear_lars=part(trained.linear_lars, pool=pool, **lars, **crops),
    attentive=part(trained.attentive, **probing, **crops),
    attentive_10=part(trained.attentive, per_class=10, **(probing | longer), **crops),
    finetune=part(trained.finetune, **tuning, **crops),
    finetune_2=part(trained.finetune, blocks=2, **tuning, **crops),
    finetune_1pc=part(trained.finetune, share=0.01, **tuning, **crops),
    finetune_10pc=part(trained.finetune, share=0.1, **tuning, **crops),
    meters=part(frozen.meters),
    retrieval=part(frozen.retrieval),
    robustness=part(frozen.robustness),
    robustness_linear=part(frozen.robustness, classifier="linear"),
    outliers=part(frozen.outliers),
    segmentation=part(frozen.segmentation, **maps),
    segmentation_knn=part(frozen.segmentation, classifier="knn", **maps),
    propagation=part(frozen.propagation, **clips),
  )


def scratch(config) -> ml_collections.ConfigDict:
  """Makes the node of the baseline "supervised"."""
  laptop = dict(epochs=40.0, batch_size=128, rate=4e-3, warmup=5.0, ema=0.0, weight_decay=0.05)
  laptop |= dict(changes=0, mixup=0.0, cutmix=0.0, drop_path=0.0)
  return part(trained.from_scratch, **(laptop if small(config) else {}), **crops_of(config))


def small(config) -> bool:
  """Tells whether images are too small for published recipes."""
  return max(config.data.view.size) < SMALL


def crops_of(config) -> dict:
  """Makes scale and flip of training crops: as published; for small images as in pre-training."""
  augment = config.data.get("augment", {})
  if not small(config):
    return {}
  return dict(scale=tuple(augment.get("scale", (0.6, 1.0))), flip=augment.get("flip", True))
