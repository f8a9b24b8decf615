"""Decoding of image files to uint8, within limits. Letters: b batch, H W canvas, h w true size.

What becomes of the channels:

| the file holds       | 1 wanted | 2 wanted    | 3 wanted   | 4 wanted          | others |
|----------------------|----------|-------------|------------|-------------------|--------|
| grey                 | as is    | grey, 255   | grey x 3   | grey x 3, 255     | error  |
| grey, alpha          | grey     | as is       | grey x 3   | grey x 3, alpha   | error  |
| colour               | luma     | luma, 255   | RGB        | RGB, 255          | error  |
| colour, alpha        | luma     | luma, alpha | RGB        | RGB, alpha        | error  |
| .npy, 1 to 4         | as grey; grey, alpha; RGB; RGB, alpha above, or as is         | error  |
| .npy, more           | error    | error       | error      | error             | as is  |

Colour is RGB, palette or CMYK. Luma is ITU-R 601; alpha is dropped, not blended. Of 16 bits a
channel the high byte is kept. The EXIF rotation is applied. An animation gives its first frame.
"""

import dataclasses
import io
import os
from collections.abc import Iterable

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mim_jax import errors
from mim_jax.data.image import jpeg

LIMITS = (89_478_485, 268_435_456)  # pixels, where Pillow starts to warn; bytes, 256 MiB
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".npy")
_FORMATS = ("JPEG", "PNG", "WEBP")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_PLAIN = {1: (1,), 3: (1, 3)}  # by channels wanted, those of JPEGs that need no table
# Pillow itself refuses more than this, so a larger limit would be an empty promise.
_MOST_PIXELS = 178_956_970


@dataclasses.dataclass(frozen=True)
class Decoder:
  """Decodes one image and fits it to the canvas.

  Attributes:
    canvas: pixels; an image with a longer side is shrunk (bicubic, antialiased, aspect kept).
    channels: of the result; see the table above.
    limits: most pixels of an image and most bytes of a file; both are checked before decoding.
    shorter: pixels; an image whose shorter side is longer than this is shrunk to it. 0 does not.
  """

  canvas: int
  channels: int
  limits: tuple[int, int] = LIMITS
  shorter: int = 0

  def __post_init__(self):
    """Checks the settings: InputError for those no image could meet."""
    if self.canvas < 1 or self.channels < 1:
      raise errors.InputError(
        f"data: canvas {self.canvas} and channels {self.channels} must be positive; "
        "canvas=256, channels=3 is usual."
      )
    if not 1 <= self.limits[0] <= _MOST_PIXELS:
      raise errors.InputError(
        f"data.limits: {self.limits[0]} pixels; allowed: 1 to {_MOST_PIXELS} (Pillow's own limit)."
      )

  def image(self, stored: bytes | np.ndarray, name: str) -> np.ndarray:
    """Decodes a stored file or array: uint8 [h w c] that fits the canvas."""
    return self.picture(stored, name) if isinstance(stored, bytes) else self.shrunk(stored)

  def picture(self, data: bytes, name: str) -> np.ndarray:
    """Decodes a JPEG, PNG or WebP file: uint8 [h w c] that fits the canvas.

    `name` is for messages.
    """
    self.check_bytes(len(data), name)
    plain = self.plain(data)
    if plain:
      self.check_pixels(plain.width, plain.height, name)
      whole = (plain.width, plain.height)
      width, height = size = self.fit(*whole)
      # At 1/2, 1/4 or 1/8 where that still leaves twice the size that is wanted.
      least = (plain.height, plain.width) if size == whole else (2 * height, 2 * width)
      found = jpeg.read(data, self.channels, least)
      if found is not None:
        return self._resized(found, size)
    try:
      with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        self.check_pixels(image.width, image.height, name)
        if self.channels not in _MODES:
          raise self._channels(image.mode, name)
        return self.pixels(image, name)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
      raise errors.UnreadableError(f"data: {name}: {error} Shrink or remove the image.") from error
    except errors.InputError:
      raise
    except Exception as error:  # codecs raise nearly anything when they meet broken files
      raise _unreadable(name, error) from error

  def plain(self, data: bytes) -> jpeg.Header | None:
    """Reads the header of a JPEG that libjpeg-turbo alone decodes as wanted.

    None for all others.
    """
    found = jpeg.header(data)
    if found is None or found.channels not in _PLAIN.get(self.channels, ()):
      return None
    return None if found.exif and _turned(data) else found

  def array(self, path: str) -> np.ndarray:
    """Reads a .npy file of uint8 [h w] or [h w c] as `picture` would return it."""
    self.check_bytes(os.path.getsize(path), path)
    try:
      # mapped: only the header is read before the limits are checked
      values = np.load(path, mmap_mode="r", allow_pickle=False)
      if values.dtype != np.uint8 or values.ndim not in (2, 3) or not values.size:
        raise ValueError(f"uint8 [h w c] is wanted, the file holds {values.dtype} {values.shape}")
    except Exception as error:
      raise _unreadable(path, error) from error
    self.check_pixels(values.shape[1], values.shape[0], path)
    values = np.asarray(values[..., None] if values.ndim == 2 else values)
    if values.shape[-1] != self.channels:
      if values.shape[-1] not in _MODES or self.channels not in _MODES:
        raise self._channels(f"{values.shape[-1]} channels", path)
      mode = _MODES[values.shape[-1]]
      image = Image.fromarray(values.squeeze(-1) if mode == "L" else values)
      values = _array(_convert(image, _MODES[self.channels]))
    return self.shrunk(values)

  def shrunk(self, values: np.ndarray) -> np.ndarray:
    """Shrinks an array [h w c] to fit the canvas."""
    return self._resized(values, self.fit(values.shape[1], values.shape[0]))

  def _resized(self, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an array [h w c] to this (width, height)."""
    if size == (values.shape[1], values.shape[0]):
      return values
    if values.shape[-1] == 3:
      return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))
    # one by one, since Pillow would blend a fourth channel as transparency
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, -1, 0)]
    return np.stack([np.asarray(p.resize(size, Image.Resampling.BICUBIC)) for p in planes], -1)

  def pixels(self, image: Image.Image, name: str) -> np.ndarray:
    """Converts an opened image of allowed size to uint8 [h w c] that fits the canvas."""
    # A JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves twice the size that is wanted.
    width, height = self.fit(image.width, image.height)
    image.draft(None, (2 * width, 2 * height))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
      high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
      image = Image.fromarray(high.astype(np.uint8))
    elif image.mode == "F":
      raise self._channels("floating-point pixels", name)
    image = _convert(image, _MODES[self.channels])
    size = self.fit(image.width, image.height)
    if size != image.size:
      image = image.resize(size, Image.Resampling.BICUBIC)
    return _array(image)

  def fit(self, width: int, height: int) -> tuple[int, int]:
    """Computes (width, height), shrunk as far as canvas and shorter ask for."""
    factor = self.canvas / max(width, height)
    if self.shorter:
      factor = min(factor, self.shorter / min(width, height))
    if factor >= 1:
      return width, height
    return max(1, round(width * factor)), max(1, round(height * factor))

  def check_bytes(self, count: int, name: str) -> None:
    """Checks a file's bytes against the limit. Errors: UnreadableError."""
    if count > self.limits[1]:
      raise errors.UnreadableError(
        f"data: {name} has {count} bytes, more than the limit of {self.limits[1]} (the second of "
        "data.limits). Raise the limit, or shrink or remove the file."
      )

  def check_pixels(self, width: int, height: int, name: str) -> None:
    """Checks an image's pixels against the limit. Errors: UnreadableError."""
    if width * height > self.limits[0]:
      raise errors.UnreadableError(
        f"data: {name} has {width} x {height} = {width * height} pixels, more than the limit of "
        f"{self.limits[0]} (the first of data.limits). Raise the limit, or shrink or remove it."
      )

  def _channels(self, found: str, name: str) -> errors.InputError:
    return errors.UnreadableError(
      f"data.channels: {name} ({found}) cannot be turned into {self.channels} channels. "
      "Pictures can have 1, 2, 3 or 4; for other counts give .npy files that hold as many."
    )


def pack(images: Iterable[np.ndarray], count: int, decoder: Decoder) -> dict[str, np.ndarray]:
  """Packs images [h w c] top-left on a black canvas: image uint8 [b H W c] and size int32 [b 2]."""
  packed = np.zeros((count, decoder.canvas, decoder.canvas, decoder.channels), np.uint8)
  sizes = np.zeros((count, 2), np.int32)
  for place, size, image in zip(packed, sizes, images, strict=True):
    place[: image.shape[0], : image.shape[1]] = image
    size[:] = image.shape[:2]
  return {"image": packed, "size": sizes}


def _turned(data: bytes) -> bool:
  """Tells whether the EXIF segment asks for the image to be turned or mirrored."""
  try:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
      return image.getexif().get(ExifTags.Base.Orientation, 1) != 1
  except Exception:  # whatever it is, the road by Pillow will name it
    return True


def _convert(image: Image.Image, mode: str) -> Image.Image:
  clear = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa", "RGBA")
  if image.mode == mode:
    return image
  # By way of RGB, since palettes and CMYK have no direct way to grey; grey comes back unchanged.
  image = image.convert("RGBA" if clear else "RGB")
  if mode in ("RGB", "RGBA"):
    return image.convert(mode)
  grey = image.convert("RGB").convert("L")
  if mode == "L":
    return grey
  alpha = image.getchannel("A") if clear else Image.new("L", image.size, 255)
  return Image.merge("LA", (grey, alpha))


def _array(image: Image.Image) -> np.ndarray:
  values = np.asarray(image)
  return values[..., None] if values.ndim == 2 else values


def _unreadable(name: str, error: Exception) -> errors.InputError:
  why = f"{type(error).__name__}: {error}"
  if isinstance(error, UnidentifiedImageError):  # whose text shows an address in memory
    why = f"it is none of {', '.join(_FORMATS)}"
  return errors.UnreadableError(
    f"data: {name} cannot be read as an image ({why}). Mend or remove the file."
  )
