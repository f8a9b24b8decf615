"""Corruptions of a source's images, deterministic. Letters: b batch, h w c, p pixels.

Kinds and their five severities are those of ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261)
that need no pictures of frost or fog; widths of blurs are for images of 224 pixels and follow the
shorter side. They are computed here: numbers are comparable among networks that are evaluated here,
not with those on the published files.
"""

import functools
import hashlib
import io

import numpy as np
from PIL import Image
from scipy import ndimage

from mim_jax import errors

SEVERITIES = dict(
  gaussian_noise=(0.08, 0.12, 0.18, 0.26, 0.38),  # std, of values in 0..1
  shot_noise=(60, 25, 12, 5, 3),  # photons of white
  impulse_noise=(0.03, 0.06, 0.09, 0.17, 0.27),  # fraction of pixels that become black or white
  gaussian_blur=(1, 2, 3, 4, 6),  # std in pixels
  motion_blur=(10, 15, 15, 20, 25),  # length in pixels, along a drawn angle
  brightness=(0.1, 0.2, 0.3, 0.4, 0.5),  # added
  contrast=(0.4, 0.3, 0.2, 0.1, 0.05),  # what is left of it
  pixelate=(0.6, 0.5, 0.4, 0.3, 0.25),  # fraction of the pixels along a side
  jpeg=(25, 18, 15, 10, 7),  # quality
)
FULL, LEAST = 224, 64  # pixels; below the least, blurs shrink no further: they would do nothing


class Corrupted:
  """Corrupts the images of a Source, as a function of kind, severity and index alone.

  Attributes:
    source: the clean images.
    kind: a key of SEVERITIES.
    severity: 1 to 5.
    classes: see sources.Source.
  """

  def __init__(self, source, kind: str, severity: int):
    """Takes a source; InputError for an unknown kind or severity."""
    if kind not in SEVERITIES:
      raise errors.unknown("corruption", kind, SEVERITIES)
    if severity not in range(1, 6):
      raise errors.InputError(f"corruption: severity {severity} must be one of 1, 2, 3, 4, 5.")
    self.source, self.kind, self.severity = source, kind, severity
    self.classes: tuple[str, ...] = source.classes

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    batch = self.source[indices]
    image = batch["image"].copy()
    for place, index, (h, w) in zip(image, indices, batch["size"], strict=True):
      place[:h, :w] = corrupted(place[:h, :w], self.kind, self.severity, int(index))
    return {**batch, "image": image}

  def names(self, indices: np.ndarray) -> list[str]:
    return self.source.names(indices)

  @property
  def label(self) -> np.ndarray:
    return self.source.label

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the clean images, and what is done to them."""
    told = f"{self.source.fingerprint} {self.kind} {self.severity}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def corrupted(image: np.ndarray, kind: str, severity: int, index: int) -> np.ndarray:
  """Corrupts one image uint8 [h w c]; `index` is the seed of what chance there is."""
  amount = SEVERITIES[kind][severity - 1]
  random = np.random.RandomState([list(SEVERITIES).index(kind), severity, index])
  scale = max(min(image.shape[:2]), LEAST) / FULL
  changed = _CHANGES[kind](image.astype(np.float64) / 255.0, amount, random, scale)
  return np.round(np.clip(changed, 0.0, 1.0) * 255.0).astype(np.uint8)


def _gaussian_noise(x, amount, random, scale):
  return x + random.normal(0.0, amount, x.shape)


def _shot_noise(x, amount, random, scale):
  return random.poisson(x * amount) / amount


def _impulse_noise(x, amount, random, scale):
  drawn = random.random_sample(x.shape)
  return np.where(drawn < amount / 2, 0.0, np.where(drawn < amount, 1.0, x))


def _gaussian_blur(x, amount, random, scale):
  std = amount * scale
  return ndimage.gaussian_filter(x, (std, std, 0.0), mode="nearest")


def _motion_blur(x, amount, random, scale):
  length, angle = max(amount * scale, 1.0), random.uniform(-np.pi / 4, np.pi / 4)
  steps = np.linspace(-0.5, 0.5, max(2, round(length) + 1)) * length
  moved = [
    ndimage.shift(x, (s * np.sin(angle), s * np.cos(angle), 0.0), order=1, mode="nearest")
    for s in steps
  ]
  return np.mean(moved, 0)


def _brightness(x, amount, random, scale):
  return x + amount


def _contrast(x, amount, random, scale):
  mean = x.mean((0, 1), keepdims=True)
  return (x - mean) * amount + mean


def _pixelate(x, amount, random, scale):
  h, w = x.shape[:2]
  rows, columns = (np.minimum(np.arange(n) * max(1, int(n * amount)) // n, n - 1) for n in (h, w))
  sums = np.zeros((rows[-1] + 1, columns[-1] + 1, x.shape[2]))
  np.add.at(sums, (rows[:, None], columns[None]), x)
  counts = np.bincount(rows)[:, None] * np.bincount(columns)[None]
  return (sums / counts[..., None])[rows[:, None], columns[None]]


def _jpeg(x, amount, random, scale):
  values = np.round(x * 255.0).astype(np.uint8)
  if x.shape[2] == 3:
    return _through_jpeg(Image.fromarray(values), amount)
  channels = [_through_jpeg(Image.fromarray(values[..., i]), amount) for i in range(x.shape[2])]
  return np.stack(channels, -1)


def _through_jpeg(image, quality: int) -> np.ndarray:
  written = io.BytesIO()
  image.save(written, "JPEG", quality=quality)
  with Image.open(written) as read:
    return np.asarray(read, np.float64) / 255.0


_CHANGES = dict(
  gaussian_noise=_gaussian_noise,
  shot_noise=_shot_noise,
  impulse_noise=_impulse_noise,
  gaussian_blur=_gaussian_blur,
  motion_blur=_motion_blur,
  brightness=_brightness,
  contrast=_contrast,
  pixelate=_pixelate,
  jpeg=_jpeg,
)
