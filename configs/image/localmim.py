"""LocalMIM: Masked Image Modeling with Local Multi-Scale Reconstruction (Wang et al., CVPR 2023,
arXiv 2303.05251).

Reference: github.com/Haoqing-Wang/LocalMIM (not copied: CC BY-NC).
Numbers:   ViT/README.md of the reference: layers, scales, decoders, what differs of B and L.
Published: fine-tuning on ImageNet-1k 84.0 / 85.8 % (B 1600 epochs, L 800), with HOG as targets.

target=pixels is the paper's other target, published for Swin alone.
"""

import numpy as np

from mim_jax import losses, masks, pictures, targets
from mim_jax.config import part
from mim_jax.configs import recipe
from mim_jax.methods import localmim

# Tapped layers from the lowest, cells a patch side for each, and the decoders.
TAPS = dict(
  nano=dict(layers=(1, 2), scales=(2.0, 0.5), decoder=dict(width=16, depth=1, heads=2)),
  tiny=dict(layers=(2, 3, 4), scales=(2.0, 1.0, 0.5), decoder=dict(width=32, depth=1, heads=2)),
)
# Batch, rate for 256 images, epochs, orientations, whether flat areas are shifted.
B = dict(batch_size=2048, rate=2e-4, epochs=1600, bins=9, shift=False)
L = dict(batch_size=4096, rate=1.5e-4, epochs=800, bins=18, shift=True)


def get_config(arg: str = ""):
  """LocalMIM; target=hog or pixels."""
  facts = lambda a: dict(L=L).get(a.size, B)
  published = {key: lambda a, key=key: facts(a)[key] for key in ("epochs", "batch_size")}
  c, a = recipe.start(arg, **published, target="hog")
  kinds = dict(hog=hog, pixels=pixels)
  depth = recipe.SIZES[a.size]["depth"]
  taps = dict(layers=(2, 4, depth - 2, depth), scales=(4.0, 2.0, 1.0, 0.5))
  taps = recipe.by_size(a, TAPS, taps | dict(decoder=dict(width=256, depth=1, heads=8)))
  wanted, widths = recipe.chosen(a, "target", kinds)(c, a, taps["scales"], facts(a))
  c.objective = part(
    localmim.predict_multiscale,
    entry="image",
    mask=part(masks.random, ratio=0.75),
    layers=taps["layers"],
    targets={f"scale_{i}": target for i, target in enumerate(wanted)},
    loss=part(losses.squared_error),
  )
  c.pictures = part(pictures.latents, entry="image")
  c.parts = recipe.vit(c, a)
  shape = dict(scales=taps["scales"], target_widths=widths)
  c.parts.predictor = recipe.network(c, localmim.MultiScale, **taps["decoder"], **shape)
  rate = recipe.cosine(c, a, facts(a)["rate"], warmup=40, end=1e-6)
  c.optimizer = recipe.adamw(c, a, rate, b2=0.95)
  return recipe.finish(c, a)


def cells(c, scales) -> list:
  """Sides in pixels of the cells of each scale, references to the patch."""
  patch = c.get_ref("patch")
  return [patch // int(s) if s >= 1 else patch * round(1 / s) for s in scales]


def hog(c, a, scales, facts) -> tuple:
  """Orientations of edges, and how many numbers a cell has."""
  # The reference draws one fixed pair a scale, +-1/3, and keeps it with the weights.
  shifts = np.random.default_rng(0).uniform(-1 / 3, 1 / 3, (len(scales), 2)) * facts["shift"]
  wanted = [
    part(targets.hog, cell=cell, bins=facts["bins"], bias=tuple(map(float, shift)))
    for cell, shift in zip(cells(c, scales), shifts, strict=True)
  ]
  return wanted, (a.channels * facts["bins"],) * len(scales)


def pixels(c, a, scales, facts) -> tuple:
  """Pixels of cells, normalised where a cell has more than one."""
  sides = cells(c, scales)
  wanted = [
    part(targets.pixels, patch=side, normalize=recipe.follow(lambda s: s > 1, side))
    for side in sides
  ]
  widths = recipe.follow(lambda *s: tuple(side**2 * a.channels for side in s), *sides)
  return wanted, widths
