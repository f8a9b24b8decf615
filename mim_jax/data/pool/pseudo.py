"""Pseudo-labels of small images: a depth and a class map made from the image itself.

Letters: n images, h w size, p pixels.
"""

import dataclasses
import functools
import hashlib

import numpy as np

from mim_jax import errors
from mim_jax.data.image import sources

SIDE = 64  # pixels, the most: all pairs of them are compared
CLASSES = 4  # background, faint stroke, full stroke, border of a full stroke
_SOFTNESS = 1.0  # pixels
_RANGE = (-2.0, 10.0)  # of soft distances in the digits; what is farther is as far


@dataclasses.dataclass(frozen=True)
class WithMaps:
  """Adds further arrays beside each image of a Source.

  Attributes:
    source: the images.
    maps: {modality: array [n ...]}.
  """

  source: sources.Arrays
  maps: dict[str, np.ndarray]

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Reads images and maps; a map has the dtype and the shape [b ...] of its array."""
    return {**self.source[indices], **{key: value[indices] for key, value in self.maps.items()}}

  def names(self, indices: np.ndarray) -> list[str]:
    return self.source.names(indices)

  @property
  def label(self) -> np.ndarray:
    return self.source.label

  @property
  def classes(self) -> tuple[str, ...]:
    return self.source.classes

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes images and maps."""
    digest = hashlib.blake2b(self.source.fingerprint.encode(), digest_size=8)
    for key, value in self.maps.items():
      digest.update(key.encode())
      digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def digits_with_maps(*, split: str = "train") -> WithMaps:
  """Loads the embedded digits with depth and semantic, see `with_maps`.

  Splits as sources.digits.
  """
  return with_maps(sources.digits(split=split))


def arrays_with_maps(*, path: str, split: str = "train") -> WithMaps:
  """Opens the images of a .npz or .npy file with depth and semantic.

  See sources.arrays, `with_maps`.
  """
  return with_maps(sources.arrays(path=path, split=split))


def with_maps(source: sources.Arrays) -> WithMaps:
  """Makes depth and semantic, both uint16 [n h w], from the brightness of the images' pixels.

  depth: soft distance from the ink. semantic: ids below CLASSES, by brightness and border.
  InputError for images of more than SIDE pixels a side.
  """
  image = source[np.arange(len(source))]["image"]
  if max(image.shape[1:3]) > SIDE:
    raise errors.InputError(
      f"{source.name}: images are {image.shape[1]} x {image.shape[2]} pixels, but maps are made of "
      f"those up to {SIDE}. Make them smaller, or give maps of your own: dataset=folder."
    )
  ink = image.mean(-1) / 255.0
  low, high = _RANGE
  fraction = np.clip((soft_distance(ink) - low) / (high - low), 0.0, 1.0)
  depth = np.round(fraction * 65_535).astype(np.uint16)
  return WithMaps(source, {"depth": depth, "semantic": stroke_classes(ink)})


def soft_distance(ink: np.ndarray) -> np.ndarray:
  """Computes a smooth distance transform of images [n h w] in 0..1: pixels from ink, [n h w].

  -log sum_q ink_q exp(-|p - q|), which is below 0 in the middle of a stroke. All pairs of pixels
  are compared.
  """
  n, h, w = ink.shape
  where = np.argwhere(np.ones((h, w))).astype(np.float64)
  away = np.linalg.norm(where[:, None] - where[None], axis=-1)  # [p p]
  near = ink.reshape(n, -1) @ np.exp(-away / _SOFTNESS)
  return (-_SOFTNESS * np.log(near + 1e-6)).reshape(n, h, w)


def stroke_classes(ink: np.ndarray) -> np.ndarray:
  """Classifies the pixels of images [n h w] in 0..1: uint16 [n h w].

  0 below 1/4, 1 up to 3/4, 2 above; 3 for a pixel below 1/4 beside one above 3/4.
  """
  level = np.digitize(ink, (0.25, 0.75))
  full = np.pad(level == 2, ((0, 0), (1, 1), (1, 1)))
  beside = full[:, :-2, 1:-1] | full[:, 2:, 1:-1] | full[:, 1:-1, :-2] | full[:, 1:-1, 2:]
  return np.where((level == 0) & beside, 3, level).astype(np.uint16)
