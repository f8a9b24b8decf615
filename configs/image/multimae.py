"""MultiMAE: Multi-modal Multi-task Masked Autoencoders (Bachmann et al., ECCV 2022, arXiv
2204.01678).

Reference: github.com/EPFL-VILAB/MultiMAE (not copied: CC BY-NC).
Numbers:   cfgs/pretrain of the reference; a sixth of all patches is visible.
Published: fine-tuning on ImageNet-1k 83.3 %, ADE20K 46.2 mIoU (B, 1600 epochs); semantic
           segmentation on NYUv2 52.0 / 41.4 / 56.0 mIoU from colour / depth / both.

path=FOLDER has the sub-folders image, depth and semantic, in which files have the same names. With
the digits, or dataset=arrays and images of up to 64 pixels a side, depth and classes are made from
the images: distance from the ink, brightness and border. What is encoded in evaluations is the
image alone; `--config.encode.modalities` names other subsets.
"""

from mim_jax import losses, masks, pictures, targets, tokenizers
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.methods import multimae
from mim_jax.modalities import pool

OWN = dict(epochs=1600, batch_size=2048, classes=0)
LAPTOP = {"parts.tokenizers.semantic.class_width": 16}


def get_config(arg: str = ""):
  """MultiMAE; `classes` of the semantic maps, 133 of COCO's panoptic labels."""
  c, a = recipe.start(arg, "pool", **OWN)
  size, patch = c.data.augment.get_ref("size"), c.get_ref("patch")
  coarse = lambda side, p: 4 if side[0] >= 128 and p % 4 == 0 else 1
  coarser = c.data.view.coarser = c.data.augment.coarser = recipe.follow(coarse, size, patch)
  small = recipe.follow(lambda p, k: p // k, patch, coarser)
  sixth = lambda grid: int(len(pool.ENTRIES) * grid[0] * grid[1] / 6)
  mask = part(masks.dirichlet, visible=recipe.follow(sixth, recipe.grid(c)))
  tasks = the_tasks(patch, small)
  c.objective = part(multimae.predict_modalities, modalities=pool.ENTRIES, mask=mask, tasks=tasks)
  c.encode = part(multimae.encode_modalities, modalities=("image",))
  c.pictures = part(pictures.modalities, entries=pool.ENTRIES)
  c.parts = recipe.vit(c, a, norm="none", kernel_init="xavier_per_projection")
  del c.parts.tokenizer
  shared = dict(width=recipe.SIZES[a.size]["width"], dtype=c.train.get_ref("dtype"))
  classes = dict(patch=small, classes=pool.classes(a), class_width=64)
  c.parts.tokenizers = dict(
    image=part(tokenizers.ImagePatches, patch=patch, **shared),
    depth=part(tokenizers.ImagePatches, patch=patch, **shared),
    semantic=part(tokenizers.ClassPatches, **classes, **shared),
  )
  numbers = dict(image=patch**2 * a.channels, depth=patch**2, semantic=small**2 * pool.classes(a))
  numbers["image_normalized"] = numbers["image"]
  shape = dict(width=256, depth=2, heads=8, kernel_init="xavier_per_projection")
  c.parts.predictors = {
    name: recipe.decoder(c, a, multimae.MultimodalDecoder, **shape, target_width=width)
    for name, width in numbers.items()
  }
  c.parts.predictors.semantic.stack.dtype = "float32"  # as in the reference
  # All decays, also biases, norms and tokens, as in the reference.
  c.optimizer = recipe.adamw(c, a, 1e-4, warmup=40, b2=0.95, weight_decay_rules=((".*", 1.0),))
  return recipe.finish(c, a, laptop=LAPTOP)


def the_tasks(patch, small) -> dict:
  """What is predicted of which modality; pixels twice, by two predictors."""
  depth = part(targets.pixels, patch=patch, normalize=False, entry="depth")
  classes = part(targets.class_ids, patch=small)
  plain, normal = (part(targets.pixels, patch=patch, normalize=x) for x in (False, True))
  squared, absolute = part(losses.squared_error), part(losses.absolute_error)
  return dict(
    image=dict(entry="image", target=plain, loss=squared),
    image_normalized=dict(entry="image", target=normal, loss=part(losses.squared_error)),
    depth=dict(entry="depth", target=depth, loss=absolute),
    semantic=dict(entry="semantic", target=classes, loss=part(losses.pixel_cross_entropy)),
  )
