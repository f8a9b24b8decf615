"""JPEG files by libjpeg-turbo: headers, and smaller or partial decoding.

Letters: h w size, c channels. Source of the markers: ITU-T T.81, annex B.
"""

from typing import NamedTuple

import numpy as np
import simplejpeg

_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what is met in practice
_SCAN, _EXIF = 0xDA, 0xE1
_END = b"\xff\xd9"


class Header(NamedTuple):
  """Holds what is before the pixels of a JPEG.

  Attributes:
    height, width: pixels.
    channels: 1 for grey, 3 for colour, 4 for CMYK.
    whole: whether all of a row of pixels is in one place, as it is unless progressive.
    exif: whether there is an EXIF segment, which may ask for the image to be turned.
    place: where in the file the height is, 2 bytes.
    scan: where the compressed pixels begin.
  """

  height: int
  width: int
  channels: int
  whole: bool
  exif: bool
  place: int
  scan: int


def header(data: bytes) -> Header | None:
  """Reads the header of a JPEG file of 8 bits; None where it is none, or an unusual one."""
  if not data.startswith(b"\xff\xd8"):
    return None
  at, frame, exif = 2, None, False
  while at + 10 <= len(data) and data[at] == 0xFF:
    marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
    if marker in _FRAMES:
      if data[at + 4] != 8:
        return None
      height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
      frame = (height, width, data[at + 9], marker, at + 5)
    elif marker == _EXIF:
      exif = exif or data[at + 4 : at + 10] == b"Exif\0\0"
    elif marker == _SCAN:
      if frame is None or 0 in frame[:3]:
        return None
      whole = frame[3] != 0xC2 and data[at + 4] == frame[2]
      return Header(*frame[:3], whole, exif, frame[4], at + 2 + length)
    elif marker == 0xFF:  # padding
      length = -1
    at += 2 + length
  return None


def read(
  data: bytes | bytearray,
  channels: int,
  least: tuple[int, int],
  *,
  strict: bool = True,
  buffer: np.ndarray | None = None,
) -> np.ndarray | None:
  """Decodes to uint8 [h w c] with 1 or 3 channels, at 1/2 to 1/8 where that leaves `least` (h w).

  None where libjpeg-turbo cannot, or (strict) has something to complain of. buffer: uint8, whose
  beginning becomes the image, where new memory would cost more than it is worth.
  """
  wanted = "GRAY" if channels == 1 else "RGB"
  height, width = least
  try:
    return simplejpeg.decode_jpeg(
      data, wanted, min_height=height, min_width=width, min_factor=2, strict=strict, buffer=buffer
    )
  except ValueError:
    return None


def upper(data: bytes, found: Header, rows: int) -> bytearray | None:
  """Cuts the file after its first `rows` of pixels, so that no more are decoded.

  Rows are compressed one after the other, so that is the same file with a smaller height in its
  header; some rows more are left, since the last one of any image is blended differently. None
  where that cannot be, also for a file whose end is missing.
  """
  if not found.whole or not (data.endswith(_END) or data.find(_END, found.scan) > 0):
    return None
  shorter = bytearray(data)
  height = min(found.height, padded(rows))
  shorter[found.place : found.place + 2] = height.to_bytes(2, "big")
  return shorter


def padded(rows: int) -> int:
  """Counts the rows `upper` leaves: an even number, and at least one more than is wanted."""
  return (rows + 2) // 2 * 2
