"""Moving images: clips made of stills. Letters: n clips, t frames, o pictures in a clip."""

import functools
import hashlib
from collections.abc import Callable

import numpy as np

from mim_jax import errors
from mim_jax.data.image import sources
from mim_jax.data.video import clip_files

SIDE = 12  # pixels, of the canvas of the digits
LENGTH = 64  # frames of a clip


class MovingClips(clip_files.Clips):
  """Makes one clip a picture, uint8 [t H W c]: it starts somewhere, moves and bounces.

  It goes one pixel a frame along either axis, within half a picture's side. A clip of 64 frames is
  drawn when it is asked for. Attributes: see clip_files.Clips.
  """

  def __init__(self, pictures: sources.Arrays, sample: Callable):
    """Takes the pictures of one split, square ones; all else follows from their order."""
    batch = pictures[np.arange(len(pictures))]
    self.sample, self.label, self.classes = sample, batch["label"], pictures.classes
    self._name, self._picture = pictures.name, batch["image"]
    n, height, width, _ = self._picture.shape
    if height != width or height < 2:
      raise errors.InputError(
        f"{pictures.name}: pictures are {height} x {width} pixels, but those that move must be "
        "square, of 2 pixels or more. Crop them."
      )
    self._side, self._room = height, height // 2
    stream = np.random.RandomState(0)
    self._place = stream.randint(0, 2 * self._room, (n, 2, 2))  # clip, picture, axis
    self._speed = stream.choice([-1, 1], (n, 2, 2))
    self._second = np.where(stream.rand(n) < 0.5, _partners(self.label, stream), -1)

  def places(self, index: int, o: int, times: np.ndarray) -> list:
    """Computes (row, column) in 0..room of picture `o`, at every time [t] of a clip."""
    free = self._place[index, o] + self._speed[index, o] * times[:, None]
    return bounced(free, self._room).tolist()

  def names(self, indices: np.ndarray) -> list[str]:
    return [f"moving {self._name} {index}" for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes everything the clips are drawn from."""
    digest = hashlib.blake2b(digest_size=8)
    for value in (self._picture, self.label, self._place, self._speed, self._second):
      digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


class BouncingClips(MovingClips):
  """Moves pictures over a black canvas, half as wide again.

  Clip i shows picture i and, in every other clip, a second one of its class; the brighter of two
  pixels is seen.
  """

  @property
  def canvas(self) -> int:
    return self._side + self._room

  def frames(self, index: int, choice: clip_files.Choice) -> np.ndarray:
    times = choice(LENGTH)
    seen = np.zeros((len(times), self.canvas, self.canvas, self._picture.shape[-1]), np.uint8)
    for o, picture in enumerate((index, self._second[index])):
      if picture >= 0:
        # Frame by frame: indexing all at once takes several times as long.
        for frame, (y, x) in zip(seen, self.places(index, o, times), strict=True):
          under = frame[y : y + self._side, x : x + self._side]
          np.maximum(under, self._picture[picture], out=under)
    return seen


class PanningClips(MovingClips):
  """Pans a camera over pictures: it sees as much as one picture, mirrored beyond its borders.

  Of photos a black canvas would leave little to predict but where they end.
  """

  def __init__(self, pictures: sources.Arrays, sample: Callable):
    super().__init__(pictures, sample)
    around = (self._room // 2, self._room - self._room // 2)
    self._mirror = np.pad(np.arange(self._side), around, mode="reflect")

  @property
  def canvas(self) -> int:
    return self._side

  def frames(self, index: int, choice: clip_files.Choice) -> np.ndarray:
    whole = self._picture[index].take(self._mirror, 0).take(self._mirror, 1)
    places = self.places(index, 0, choice(LENGTH))
    return np.stack([whole[y : y + self._side, x : x + self._side] for y, x in places])


def moving_digits(*, split: str = "train", sample: Callable) -> BouncingClips:
  """Makes clips of scikit-learn's digits moving over 12 x 12 pixels; they need no download.

  The label is the digit's class, the split that of sources.digits. sample: which of the 64 frames
  of a clip are seen, see frames.
  """
  return BouncingClips(sources.digits(split=split), sample)


def moving_arrays(*, path: str, split: str = "train", sample: Callable) -> PanningClips:
  """Makes clips that pan over the pictures of a .npz or .npy file, as large as they.

  See sources.arrays. The label is the picture's class. sample: see moving_digits.
  """
  return PanningClips(sources.arrays(path=path, split=split), sample)


def bounced(place: np.ndarray, room: int) -> np.ndarray:
  """Reflects `place` at 0 and at `room`."""
  return room - np.abs(place % (2 * room) - room)


def _partners(label: np.ndarray, stream: np.random.RandomState) -> np.ndarray:
  """Draws for each image another of its class (or itself, where it is alone)."""
  partner = np.arange(len(label))
  for value in np.unique(label):
    members = np.flatnonzero(label == value)
    partner[members] = stream.permutation(members)
  return partner
