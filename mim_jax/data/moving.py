"""Moving digits, the embedded clips. Letters: n clips, t frames, o objects (digits) in a clip."""

import functools
import hashlib
from collections.abc import Callable

import numpy as np

from mim_jax.data import clips, sources

SIDE, DIGIT = 12, 8  # pixels, of the canvas and of a digit
LENGTH = 64  # frames of a clip


class MovingDigits(clips.Clips):
  """One clip a digit, uint8 [t 12 12 1]: one or two digits of a class that move and bounce.

  Clip i shows image i of the digits and, in every other clip, a second image of its class. Each
  starts somewhere and goes one pixel a frame along either axis; the brighter of two pixels is
  seen. A clip of 64 frames is drawn when it is asked for.

  Attributes:
    see clips.Clips.
  """

  canvas = SIDE

  def __init__(self, digits: sources.Arrays, sample: Callable):
    """Takes the digits of one split; all else follows from their order."""
    batch = digits[np.arange(len(digits))]
    self.sample, self.label, self.classes = sample, batch["label"], digits.classes
    self._name, self._digit = digits.name, batch["image"][..., 0]
    n, stream = len(digits), np.random.RandomState(0)
    self._place = stream.randint(0, 2 * (SIDE - DIGIT), (n, 2, 2))  # clip, object, axis
    self._speed = stream.choice([-1, 1], (n, 2, 2))
    self._second = np.where(stream.rand(n) < 0.5, _partners(self.label, stream), -1)

  def frames(self, index: int, choice: clips.Choice) -> np.ndarray:
    """See clips.Clips."""
    times = choice(LENGTH)
    seen = np.zeros((len(times), SIDE, SIDE), np.uint8)
    rows = np.arange(len(times))[:, None, None]
    for o, digit in enumerate((index, self._second[index])):
      if digit >= 0:
        y, x = bounced(self._place[index, o, :, None] + self._speed[index, o, :, None] * times)
        cells = (rows, _along(y)[:, :, None], _along(x)[:, None, :])
        seen[cells] = np.maximum(seen[cells], self._digit[digit])
    return seen[..., None]

  def names(self, indices: np.ndarray) -> list[str]:
    """See sources.Source."""
    return [f"moving {self._name} {index}" for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hash of everything the clips are drawn from."""
    digest = hashlib.blake2b(digest_size=8)
    for value in (self._digit, self.label, self._place, self._speed, self._second):
      digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def moving_digits(*, split: str = "train", sample: Callable) -> MovingDigits:
  """Clips of the digits of scikit-learn moving over 16 x 16 pixels; they need no download.

  The label is the digit's class, the split that of sources.digits. sample: which of the 64 frames
  of a clip are seen, see frames.
  """
  return MovingDigits(sources.digits(split=split), sample)


def bounced(place: np.ndarray) -> np.ndarray:
  """Where something is that would be at `place` if it did not turn at 0 and at SIDE - DIGIT."""
  room = SIDE - DIGIT
  return room - np.abs(place % (2 * room) - room)


def _along(start: np.ndarray) -> np.ndarray:
  """Pixels that a digit covers along an axis: [t] -> [t 8]."""
  return start[:, None] + np.arange(DIGIT)


def _partners(label: np.ndarray, stream: np.random.RandomState) -> np.ndarray:
  """For each image another (or the same, where it is alone) of its class."""
  partner = np.arange(len(label))
  for value in np.unique(label):
    members = np.flatnonzero(label == value)
    partner[members] = stream.permutation(members)
  return partner
