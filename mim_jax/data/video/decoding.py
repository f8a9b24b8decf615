"""Decoding of video files with PyAV, which is imported only when a video is read.

Letters: t frames, h w size, c channels.
"""

from collections.abc import Callable

import numpy as np

from mim_jax import errors
from mim_jax.data.image import decode

EXTENSIONS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
# Only what the extensions say: other formats, playlists above all, may ask for further files.
_OPTIONS = {"format_whitelist": "mov,matroska,avi", "protocol_whitelist": "file"}
_USUAL_RATE = 25


def is_video(name: str) -> bool:
  """Tells whether the name ends as a video's does."""
  return name.lower().endswith(EXTENSIONS)


def read(path: str, choice: Callable[[int], np.ndarray], decoder: decode.Decoder) -> np.ndarray:
  """Reads the chosen frames of a video, uint8 [t h w c].

  `choice`: (number of frames) -> int [t], ascending. The video is entered at the key frame before
  the first of them. InputError without PyAV, and for files that cannot be decoded or whose frames
  are larger than the decoder allows.
  """
  av = _library()
  try:
    with av.open(path, options=_OPTIONS) as container:
      stream = container.streams.video[0]
      decoder.check_pixels(stream.width, stream.height, path)
      frames = _at(container, stream, choice(_count(container, stream)))
      return np.stack([_array(frame, decoder, path) for frame in frames])
  except errors.InputError:
    raise
  except Exception as error:  # codecs raise nearly anything when they meet broken files
    raise errors.UnreadableError(
      f"data: {path} cannot be read as a video ({type(error).__name__}: {error}). "
      "Mend or remove the file."
    ) from error


def _library():
  try:
    import av
  except ImportError as error:
    raise errors.InputError(
      f"data: video files need PyAV, which cannot be imported ({error}). Install it with "
      "pip install 'mim-jax[video]', or turn each video into a folder of images."
    ) from error
  return av


def _count(container, stream) -> int:
  """Counts the frames of the stream, as the file says, from its length, or by decoding."""
  if stream.frames:
    return stream.frames
  if stream.duration:
    return max(1, int(stream.duration * stream.time_base * _rate(stream)))
  if container.duration:  # in microseconds
    return max(1, int(container.duration * _rate(stream) / 1_000_000))
  return max(1, sum(1 for packet in container.demux(stream) if packet.size))


def _rate(stream):
  return stream.average_rate or stream.guessed_rate or _USUAL_RATE


def _at(container, stream, wanted):
  """Decodes the frames with these numbers; what lies beyond the end is the last frame."""
  start = stream.start_time or 0
  scale = stream.time_base * _rate(stream)  # frames a unit of time
  container.seek(start + int(wanted[0] / scale), stream=stream)
  found, frame = [], None
  for frame in container.decode(stream):
    number = round((frame.pts - start) * scale)
    while len(found) < len(wanted) and number >= wanted[len(found)]:
      found.append(frame)
    if len(found) == len(wanted):
      return found
  if frame is None:
    raise ValueError("no frame can be decoded")
  return found + [frame] * (len(wanted) - len(found))


def _array(frame, decoder: decode.Decoder, path: str) -> np.ndarray:
  width, height = decoder.fit(frame.width, frame.height)
  small = frame.reformat(width, height, "rgb24", interpolation="BICUBIC")
  return decoder.pixels(small.to_image(), path)
