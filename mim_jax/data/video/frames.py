"""Sampling of frames: sample(count, chance, *, ...) -> int [t], ascending.

`count` frames are there; `chance` is two uniform draws from [0, 1), or None for the one choice that
evaluations see.
"""

import numpy as np

from mim_jax import errors

Chance = tuple[float, float] | None


def dense(count: int, chance: Chance, *, frames: int = 16, stride: int = 4) -> np.ndarray:
  """Samples `frames` frames, `stride` apart, from a uniform start (without chance: in the middle).

  A clip shorter than frames x stride starts at its first frame and repeats the last that it
  reaches, as in VideoMAE's reference (kinetics.py). InputError for numbers below 1.
  """
  if frames < 1 or stride < 1:
    raise errors.InputError(
      f"sample: frames {frames} and stride {stride} must be at least 1; frames=16, stride=4 is "
      "usual."
    )
  free = count - frames * stride
  wanted = stride * np.arange(frames)
  if free < 0:
    return np.minimum(wanted, (count - 1) // stride * stride)
  return wanted + _one_of(free + 1, None if chance is None else chance[0])


def pair(count: int, chance: Chance, *, low: int = 4, high: int = 47) -> np.ndarray:
  """Samples two frames at a uniform distance in low..high (without chance: both from the middle).

  In a short clip the distance is at most what it has. InputError unless 0 <= low <= high. Source:
  SiamMAE, section 3.1 (arXiv 2305.14344), distances as in CropMAE's re-implementation.
  """
  if not 0 <= low <= high:
    raise errors.InputError(
      f"sample: distances from low {low} to high {high}; 0 <= low <= high is wanted, low=4, "
      "high=47 is usual."
    )
  low, high = min(low, count - 1), min(high, count - 1)
  draws = (None, None) if chance is None else chance
  gap = low + _one_of(high - low + 1, draws[0])
  first = _one_of(count - gap, draws[1])
  return np.array([first, first + gap])


def _one_of(n: int, draw: float | None) -> int:
  """Picks one of 0..n-1."""
  return (n - 1) // 2 if draw is None else int(n * draw)
