"""Images: of a folder, tar shards, a packed store, arrays, a TFDS set, or the embedded digits."""

import ml_collections
from ml_collections import config_dict

from mim_jax.config import part
from mim_jax.data import image

ENTRY, UNIT = "image", "images"
EMBEDDED, DATASET = "digits", "imagenet2012"  # what comes along, and what was published on
SHAPE = dict(image=8, channels=1)  # of the embedded data
DIGITS = dict(mean=(0.305,), std=(0.376,))  # of the training split
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def data(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Makes sources and views of a data set, by its name."""
  train, test = sources(a)
  size = config_dict.FieldReference((a.image, a.image))
  norm = DIGITS if a.embedded else statistics(a.channels)
  mild = dict(scale=(0.6, 1.0), flip=False) if a.embedded else {}
  resize = 256 / 224 if a.image >= 128 else 1.0
  return ml_collections.ConfigDict(
    dict(
      train=train,
      test=test,
      crop="device",  # or "host", while decoding: see data/image/host.py
      augment=part(image.crop_and_flip, size=size, **mild, **norm),
      view=part(image.center_crop, size=size, resize=resize, **norm),
    )
  )


def sources(a) -> tuple:
  """Names the sources of training and test."""
  files = dict(path=a.path, canvas=canvas(a.image), channels=a.channels)
  test = "validation" if a.dataset.startswith("imagenet") else "test"
  kinds: dict[str, tuple] = {
    EMBEDDED: (image.digits, {}),
    "folder": (image.folder, files),
    "shards": (image.shards, files),
    "packed": (image.packed, dict(path=a.path, channels=a.channels)),
    "arrays": (image.arrays, dict(path=a.path)),
  }
  if a.dataset not in kinds:
    named = dict(name=a.dataset, canvas=canvas(a.image), channels=a.channels)
    return tuple(part(image.tfds, split=split, **named) for split in ("train", test))
  kind, settings = kinds[a.dataset]
  return tuple(part(kind, split=split, **settings) for split in ("train", "test"))


def patch(size: str, side: int) -> int:
  """Picks the side of a patch: 16 (14 for H), an eighth of small images, at least 2."""
  if side >= 128:
    return 14 if size == "H" else 16
  return max(2, side // 8)


def canvas(side: int) -> int:
  """Picks the side of the square that images cross to the device on: twice the view's, or 512.

  Most photos of ImageNet are 500 pixels wide: they need no resizing on the host then.
  """
  return max(2 * side, 512) if side >= 224 else 2 * side


def statistics(channels: int) -> dict:
  """Mean and std of pixels: ImageNet's for colour, the middle of the range otherwise."""
  return IMAGENET if channels == 3 else dict(mean=(0.5,) * channels, std=(0.25,) * channels)
