"""Images: of a folder, tar shards, a packed store, arrays, a TFDS set, or the embedded digits."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from ml_collections import config_dict

from mim_jax.config import part
from mim_jax.data import image
from mim_jax.ops import patches

ENTRY, UNIT = "image", "images"
EMBEDDED, DATASET = "digits", "imagenet2012"  # what comes along, and what was published on
SHAPE = dict(image=8, channels=1)  # of the embedded data
COUNTED = dict(image=224)  # of the task in which all methods are counted
DIGITS = dict(mean=(0.305,), std=(0.376,))  # of the training split
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True)
class Image:
  """Images [b h w c], in batches as uint8 with their true `size`; see modalities.

  Attributes:
    entry: what a batch calls them.
    unit: what people call many of them.
  """

  entry: str = ENTRY
  unit: str = UNIT

  def raw(self, inputs) -> dict:
    """Makes a raw batch of uint8, or 0..1 float, images [b h w c]."""
    inputs = jnp.asarray(inputs)
    if jnp.issubdtype(inputs.dtype, jnp.floating):
      inputs = jnp.round(inputs * 255.0).astype(jnp.uint8)
    size = jnp.asarray(inputs.shape[-3:-1], jnp.int32)
    return {self.entry: inputs, "size": jnp.broadcast_to(size, (len(inputs), 2))}

  def own(self, path: str, data):
    """Opens a folder of a user's images, as large as `data` of a config has them."""
    return image.folder(**own_files(path, data))

  def plain(self, viewed: dict, patch: int = 0) -> jax.Array:
    """Takes the pixels as they are: [b e], or those of each patch [b n e]."""
    pixels = viewed[self.entry]
    return patches.patchify(pixels, patch) if patch else pixels.reshape(len(pixels), -1)

  def paint(self, panels: dict, view) -> dict:
    """Puts panels [b h w c] on the scale of pixels, [0, 1]; view: has mean and std."""
    scale, shift = (np.asarray(x, np.float32)[None, None, None] for x in (view.std, view.mean))
    return {name: np.clip(np.asarray(x) * scale + shift, 0, 1) for name, x in panels.items()}

  def still(self, viewed: dict) -> jax.Array:
    """Takes the images as they are viewed."""
    return viewed[self.entry]

  def change(self, key, viewed: dict, seen: jax.Array, grid) -> dict:
    """Puts noise where tokens on `grid` are hidden; seen: bool [b n]."""
    return {**viewed, self.entry: noisy(key, viewed[self.entry], seen, grid)}

  def evaluations(self, config) -> dict:
    """Offers probes, fine-tuning, retrieval, robustness, segmentation and propagation."""
    from mim_jax.evaluate import standard  # late: it brings every evaluation

    return standard.entries(config)


def noisy(key, values: jax.Array, seen: jax.Array, grid) -> jax.Array:
  """Replaces what lies in hidden cells of `grid` by noise: values [b *s c], seen bool [b n]."""
  grid = grid[-(values.ndim - 2) :]
  cells = tuple(side // count for side, count in zip(values.shape[1:-1], grid, strict=True))
  wide = jnp.repeat(seen[:, : np.prod(grid), None], np.prod(cells) * values.shape[-1], axis=-1)
  shown = patches.unpatchify(wide, grid, cells)
  return jnp.where(shown, values, jax.random.normal(key, values.shape, values.dtype))


def own_files(path: str, data) -> dict:
  """Settings of a source of a user's own files: all of them, on twice the view's canvas."""
  side = 2 * max(data.view.size)
  return dict(path=path, split="all", canvas=side, channels=len(data.view.mean))


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
