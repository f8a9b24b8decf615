"""Random resized crops on the host, while decoding.

An option for machines with more processor than bus, and for batches that are to be small. Only the
rows that a crop needs are decoded, at 1/2 to 1/8 where that leaves enough pixels. Boxes are drawn
as `augment.crop_and_flip` draws them and rounded to whole pixels; resizing is OpenCV's, by area
where that matters and bilinear otherwise, several times faster than Pillow's bicubic.

Letters: b batch, h w view.
"""

import dataclasses
import functools
import inspect
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from mim_jax import errors
from mim_jax.data import sample_order
from mim_jax.data.image import augment, encoded, jpeg

_AREA = 1.8  # how much an image may shrink before bilinear, which is faster, passes over pixels
_own = threading.local()
_WANTED = ("size", "scale", "aspect", "flip")


@dataclasses.dataclass(frozen=True, eq=False)
class Cropped:
  """Crops training batches of a Source, uint8 [b h w c]; evaluations see whole images.

  Attributes:
    source: an encoded.Encoded, where the images come from.
    size, scale, aspect, flip: see augment.crop_and_flip.
  """

  source: Any
  size: tuple[int, int]
  scale: tuple[float, float]
  aspect: tuple[float, float]
  flip: bool

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Reads the whole images."""
    return self.source[indices]

  def draw(self, indices: np.ndarray, positions: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Reads the crops, a function of (seed, position)."""
    stored, label = self.source.fetch(indices)
    pairs = zip(stored, self.source.names(indices), strict=True)
    opened = [self._opened(found, name) for found, name in pairs]
    sizes = np.array([size for size, _, _ in opened], np.float64)
    draws = sample_order.uniform(seed, positions, augment.DRAWS + 1)
    boxes = augment.boxes(draws, sizes, self.scale, self.aspect, np)
    mirrored = draws[:, augment.DRAWS] < 0.5 * self.flip
    image = np.empty((len(indices), *self.size, self.source.decoder.channels), np.uint8)
    for place, (_, header, found), name, box, turned in zip(
      image, opened, self.names(indices), boxes.tolist(), mirrored.tolist(), strict=True
    ):
      part = self._decoded(header, found, name, box)
      _resized(part, place, turned)
    size = np.tile(np.array(self.size, np.int32), (len(indices), 1))
    return {"image": image, "size": size, "label": label}

  def _opened(self, stored: bytes | np.ndarray, name: str):
    """Opens an image: ((h, w), header of a plain JPEG or None, its bytes or the decoded image)."""
    decoder = self.source.decoder
    header = decoder.plain(stored) if isinstance(stored, bytes) else None
    if header is not None:
      decoder.check_bytes(len(stored), name)
      decoder.check_pixels(header.width, header.height, name)
      return (header.height, header.width), header, stored
    found = stored if isinstance(stored, np.ndarray) else decoder.picture(stored, name)
    return found.shape[:2], None, found

  def _decoded(self, header: jpeg.Header | None, found, name: str, box: list[float]) -> np.ndarray:
    """Decodes the pixels inside a box (top, left, height, width), at least as many as a view's."""
    if header is None:
      return _inside(found, box, found.shape[:2])
    stop = math.ceil(box[0] + box[2])
    shorter = jpeg.upper(found, header, stop)
    rows = header.height if shorter is None else min(header.height, jpeg.padded(stop))
    factor = min(1.0, max(self.size[0] / box[2], self.size[1] / box[3]))
    least = (math.ceil(rows * factor), math.ceil(header.width * factor))
    channels = self.source.decoder.channels
    room = _room(rows * header.width * channels)
    if shorter is not None:
      image = jpeg.read(shorter, channels, least, strict=False, buffer=room)
    else:
      image = jpeg.read(found, channels, least, buffer=room)
    if image is None:
      image, rows = self.source.decoder.picture(found, name), header.height
    return _inside(image, box, (rows, header.width))

  def names(self, indices: np.ndarray) -> list[str]:
    return self.source.names(indices)

  @property
  def classes(self) -> tuple[str, ...]:
    return self.source.classes

  @property
  def label(self) -> np.ndarray:
    return self.source.label

  @property
  def fingerprint(self) -> str:
    return self.source.fingerprint


def on_host(data: dict) -> dict:
  """Moves the crop of the built `config.data`'s `augment` to the host, where images are decoded.

  Whatever else `augment` does stays on the device. InputError without OpenCV, and for views and
  sources that cannot be had in this way.
  """
  try:
    import cv2  # noqa: F401
  except ImportError as error:
    raise errors.InputError(
      f"data.crop: 'host' needs OpenCV, which cannot be imported ({error}). Install it with pip "
      "install 'mim-jax[fast]', or leave data.crop at 'device'."
    ) from error
  view = data["augment"]
  known = inspect.signature(view.func).parameters
  if not {*_WANTED} <= {*known} or "local_size" in known:
    raise errors.InputError(
      f"data.crop: {view.func.__name__} needs whole images, so it cannot be cropped on the host. "
      "Leave data.crop at 'device'."
    )
  settings = {name: view.keywords[name] for name in _WANTED}
  h, w = settings["size"]
  rest = functools.partial(view, scale=(1.0, 1.0), aspect=(w / h, w / h), flip=False)
  if view.func is augment.crop_and_flip:
    rest = functools.partial(
      augment.normalize_only, **{k: view.keywords[k] for k in ("mean", "std")}
    )
  return {**data, "train": functools.partial(cropped, source=data["train"], **settings)} | {
    "augment": rest
  }


def cropped(
  *,
  source: Callable,
  size: tuple[int, int],
  scale: tuple[float, float] = (0.2, 1.0),
  aspect: tuple[float, float] = (3 / 4, 4 / 3),
  flip: bool = True,
) -> Cropped:
  """Opens a source of encoded images with crops; see augment.crop_and_flip and Cropped."""
  opened = source()
  if not isinstance(opened, encoded.Encoded):
    raise errors.InputError(
      "data.crop: only images that are decoded (folder, shards, packed, TFDS) can be cropped on "
      "the host. Leave data.crop at 'device'."
    )
  return Cropped(opened, size, scale, aspect, flip)


def _room(size: int) -> np.ndarray:
  """Allocates at least `size` bytes for this thread; the next call gives the same again."""
  if getattr(_own, "room", None) is None or _own.room.size < size:
    _own.room = np.empty(size, np.uint8)
  return _own.room


def _inside(image: np.ndarray, box: list[float], whole: tuple[int, int]) -> np.ndarray:
  """Cuts the pixels of a box from an image that had `whole` (h, w) before shrunk decoding."""
  spans = []
  for side in (0, 1):
    factor = image.shape[side] / whole[side]
    start = min(round(box[side] * factor), image.shape[side] - 1)
    stop = max(start + 1, min(round((box[side] + box[side + 2]) * factor), image.shape[side]))
    spans.append(slice(start, stop))
  return image[spans[0], spans[1]]


def _resized(part: np.ndarray, place: np.ndarray, mirrored: bool) -> None:
  """Writes `part` [h w c] into `place`, resized, and mirrored if asked for."""
  import cv2

  shrinks = max(part.shape[0] / place.shape[0], part.shape[1] / place.shape[1])
  kernel = cv2.INTER_AREA if shrinks > _AREA else cv2.INTER_LINEAR
  size = (place.shape[1], place.shape[0])
  if mirrored:
    cv2.flip(cv2.resize(part, size, interpolation=kernel), 1, dst=place)
  else:
    cv2.resize(part, size, dst=place, interpolation=kernel)
