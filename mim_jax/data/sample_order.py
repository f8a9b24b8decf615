"""The sample order: which image comes at each position of the infinite epoch stream.

A source may have two methods more than sources.Source asks for: `order(positions, seed)`, where its
images do not simply come in shuffled epochs, and `draw(indices, positions, seed)`, where it shows
another part of an image each time, as clips do.

Letters: b batch, n images of the source, k numbers.
"""

import functools

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def indices_at(source, positions: np.ndarray, seed: int) -> np.ndarray:
  """Finds the images of `source` at these positions of its stream: int [b] -> [b]."""
  own = getattr(source, "order", None)
  return permute(positions, len(source), seed) if own is None else own(positions, seed)


def read_at(source, indices: np.ndarray, positions: np.ndarray, seed: int) -> dict[str, np.ndarray]:
  """Reads the training batch of these images at these positions; see sources.Source."""
  draw = getattr(source, "draw", None)
  return source[indices] if draw is None else draw(indices, positions, seed)


def permute(positions: np.ndarray, n: int, seed: int) -> np.ndarray:
  """Finds which of n images come at these positions of a stream of epochs: int [b] -> [b]."""
  epochs, places = np.divmod(positions, n)
  found = np.empty_like(positions)
  for epoch in np.unique(epochs):
    here = epochs == epoch
    found[here] = _permutation(n, seed, int(epoch))[places[here]]
  return found


def uniform(seed: int, positions: np.ndarray, count: int) -> np.ndarray:
  """Draws from [0, 1), a function of seed and position alone: int [b] -> float64 [b count].

  A hash (SplitMix64) of a few operations, since generators of numpy's take 20 µs to be made.
  """
  with np.errstate(over="ignore"):
    key = _mixed(_mixed(np.array([seed], np.uint64) + _GOLDEN) ^ positions.astype(np.uint64))
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    return (_mixed(key[:, None] + steps[None]) >> np.uint64(11)).astype(np.float64) / 2**53


def _mixed(x: np.ndarray) -> np.ndarray:
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


@functools.lru_cache(maxsize=16)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
  # Not Grain's shuffle: it costs 14 µs an image, and its epoch 1 of seed 0 is epoch 0 of seed 1.
  # RandomState, because NumPy has frozen its stream.
  return np.random.RandomState([seed, epoch]).permutation(n)
