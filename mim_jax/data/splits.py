"""Splits of a data set and parts of them: "train", "test", "train[:10%]", "train[500:]"."""

import fractions
import re

import numpy as np

from mim_jax import errors

_SPLIT = re.compile(r"^\s*([^\[\]]*?)\s*(?:\[([^:\]]*):([^:\]]*)\])?\s*$")
_BOUND = re.compile(r"^-?\d+(?:\.\d+)?%$|^-?\d+$")


def resolve(split: str, counts: dict[str, int]) -> tuple[str, int, int]:
  """Resolves `split` to its name and the range [start, stop) of its entries.

  counts: entries of each known split. A bound is a number of images or a percentage; negative ones
  count from the end, as in TFDS; percentages round down, so that [:10%] and [10%:] meet without
  overlap. InputError for an unknown name, a malformed bound, or a range without entries.
  """
  found = _SPLIT.match(split)
  if not found:
    raise _malformed(split)
  name, low, high = found.groups()
  if name not in counts:
    raise errors.unknown("data.split", name, counts, 'A part is written like "train[:10%]".')
  n = counts[name]
  start, stop = _bound(split, low or "", n, 0), _bound(split, high or "", n, n)
  if stop <= start:
    raise errors.InputError(
      f"data.split: {split!r} holds no image; {name!r} has {n}. "
      "Choose a wider part or another split."
    )
  return name, start, stop


def draw(n: int, start: int, stop: int) -> np.ndarray:
  """Draws entries [start, stop) of a fixed shuffle of n, sorted: int64 [stop - start].

  Data is often stored class by class, where the first tenth would hold few classes; a fixed draw is
  a fair sample. The ranges of one n cover it without overlap, as slices would.
  """
  if (start, stop) == (0, n):
    return np.arange(n)
  # RandomState, because NumPy has frozen its stream: the same images in every version.
  return np.sort(np.random.RandomState(0).permutation(n)[start:stop])


def held_out(label: np.ndarray, fraction: float) -> np.ndarray:
  """Draws the entries of the test split: bool [n], a fixed draw, `fraction` of each class."""
  check_fraction(fraction)
  stream = np.random.RandomState(0)
  test = np.zeros(len(label), bool)
  for value in np.unique(label):
    members = stream.permutation(np.flatnonzero(label == value))
    test[members[: round(len(members) * fraction)]] = True
  return test


def check_fraction(fraction: float) -> None:
  """Checks 0 <= fraction < 1. Errors: InputError."""
  if not 0 <= fraction < 1:
    raise errors.InputError(
      f"data.holdout: {fraction} is no fraction for the test split; give 0 <= holdout < 1, say 0.1."
    )


def _bound(split: str, text: str, n: int, default: int) -> int:
  text = text.strip().replace("_", "")
  if not text:
    return default
  if not _BOUND.match(text):
    raise _malformed(split)
  number = fractions.Fraction(text.rstrip("%"))
  count = int(abs(number) * n / 100) if text.endswith("%") else int(abs(number))
  if count > n:
    raise errors.InputError(
      f"data.split: {split!r} asks for {text} of {n} images. Give at most {n}, or a percentage."
    )
  return n - count if text.startswith("-") else count


def _malformed(split: str) -> errors.InputError:
  return errors.InputError(
    f"data.split: {split!r} is not understood. Write a name, or a name and a range of images or "
    'percentages: "train", "train[:500]", "train[10%:]", "train[-500:]".'
  )
