"""Sources made of others: subsets, class-balanced sampling, weighted mixtures.

Config nodes, which take other nodes: part(mixing.balanced, source=part(sources.folder, ...)).
Letters: b batch, n samples, g groups.
"""

import functools
import hashlib
from collections.abc import Callable

import numpy as np

from mim_jax import errors
from mim_jax.data import sample_order

_CYCLE = 1000  # at most so many positions until the groups of a stream come in the same order


class Subset:
  """Selects some samples of a Source, in the order of `rows`.

  Attributes:
    source: the whole.
    rows: int64 [n], where in it.
    fill: by what it fills up entries, see Concat.
  """

  def __init__(self, source, rows: np.ndarray):
    self.source, self.rows = source, rows
    self.classes: tuple[str, ...] = source.classes
    self.fill: dict = fill_of(source)

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    return self.source[self.rows[indices]]

  def draw(self, indices: np.ndarray, positions: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    return sample_order.read_at(self.source, self.rows[indices], positions, seed)

  def names(self, indices: np.ndarray) -> list[str]:
    return self.source.names(self.rows[indices])

  @property
  def label(self) -> np.ndarray:
    return self.source.label[self.rows]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the source and the selection."""
    return _hash(self.source.fingerprint, self.rows.tobytes())


class Concat:
  """Concatenates several Sources; labels are renumbered by the names of the classes.

  Images lie on the largest canvas among the sources, and so does any ragged entry: what is added at
  its ends is the source's own `fill` {entry: value}, 0 where it names none. How much of an entry is
  real ("size" of images, a length of others) is an entry of its own and stays.

  Attributes:
    sources: the pieces, all with the same channels.
    starts: int64 [pieces + 1], where each begins.
    fill: that of the sources, which agree on what they name.
  """

  def __init__(self, sources: tuple):
    """Takes at least one source. InputError where two fill up an entry by different values."""
    self.sources = sources
    self.starts = np.cumsum([0, *(len(source) for source in sources)])
    self.fill = _agreed([fill_of(source) for source in sources])
    names = {name: None for source in sources for name in source.classes}
    self.classes: tuple[str, ...] = tuple(names)
    numbers = {name: number for number, name in enumerate(names)}
    # The last entry is for -1, which is no class.
    self._numbers = [np.array([*(numbers[c] for c in s.classes), -1], np.int32) for s in sources]

  def __len__(self) -> int:
    return int(self.starts[-1])

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    return self._read(indices, lambda source, rows, _: source[rows])

  def draw(self, indices: np.ndarray, positions: np.ndarray, seed: int) -> dict[str, np.ndarray]:

    def drawn(source, rows, places):
      return sample_order.read_at(source, rows, positions[places], seed)

    return self._read(indices, drawn)

  def _read(self, indices: np.ndarray, read: Callable) -> dict[str, np.ndarray]:
    pieces, places = [], []
    for number, here, rows in self._split(indices):
      piece = read(self.sources[number], rows, here)
      pieces.append({**piece, "label": self._numbers[number][piece["label"]]})
      places.append(here)
    back = np.argsort(np.concatenate(places))
    shared = set.intersection(*(set(piece) for piece in pieces))
    return {
      key: _stacked([piece[key] for piece in pieces], self.fill.get(key, 0))[back]
      for key in sorted(shared)
    }

  def _split(self, indices: np.ndarray):
    """Splits indices by source.

    Yields (number of a source, places in `indices` that lie in it, rows of it) of each source met.
    """
    number = np.searchsorted(self.starts, indices, side="right") - 1
    for i in np.unique(number):
      here = np.flatnonzero(number == i)
      yield int(i), here, indices[here] - self.starts[i]

  def names(self, indices: np.ndarray) -> list[str]:
    found = np.empty(len(indices), object)
    for number, here, rows in self._split(indices):
      found[here] = self.sources[number].names(rows)
    return found.tolist()

  @property
  def label(self) -> np.ndarray:
    pairs = zip(self._numbers, self.sources, strict=True)
    return np.concatenate([numbers[source.label] for numbers, source in pairs])

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the fingerprints of the pieces."""
    return _hash(*(source.fingerprint for source in self.sources))


class Mixture(Subset):
  """Mixes groups of samples of a Source by weight, each in shuffled epochs of its own.

  Of any stretch of samples each group has its fraction to within two, evenly spread.

  Attributes:
    groups: int64 [any] each, which samples of the source.
    weights: float64 [g], which sum to one.
  """

  def __init__(self, source, groups: list[np.ndarray], weights: np.ndarray):
    """Takes groups and weights. InputError for weights that cannot be, or below a thousandth."""
    super().__init__(source, np.arange(len(source)))
    if not (np.isfinite(weights).all() and (weights > 0).all()):
      raise errors.InputError(f"data.weights: {weights.tolist()}; positive numbers are wanted.")
    self.groups, self.weights = groups, weights / weights.sum()
    self._turn = _turns(self.weights, _CYCLE // len(groups) * len(groups) or 10 * len(groups))
    every = np.arange(len(groups))[:, None] == self._turn[None]
    self._before = np.cumsum(every, 1)[self._turn, np.arange(len(self._turn))] - 1
    self._per_cycle = every.sum(1)
    if not self._per_cycle.all():
      raise errors.InputError(
        f"data.weights: {weights.min():g} of {weights.sum():g} is less than one sample in "
        f"{len(self._turn)}. Leave that source out, or raise its weight."
      )

  def order(self, positions: np.ndarray, seed: int) -> np.ndarray:
    cycles, places = np.divmod(positions, len(self._turn))
    group = self._turn[places]
    turn = cycles * self._per_cycle[group] + self._before[places]
    chosen = np.empty_like(positions)
    for number in np.unique(group):
      here = group == number
      rows = self.groups[number]
      # Each group's seed is its own; the fold keeps it within 32 bits.
      own = (seed + 0x9E3779B1 * int(number)) % 2**32
      chosen[here] = rows[sample_order.permute(turn[here], len(rows), own)]
    return chosen

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the source and the weights."""
    return _hash(self.source.fingerprint, self.weights.tobytes(), str(len(self.groups)))


def subset(*, source: Callable, fraction: float = 1.0, per_class: int = 0, draw: int = 0) -> Subset:
  """Draws a fixed subset of a source: a fraction of each class, or so many samples of each.

  fraction: rounded, at least one sample a class; those without label are a class. per_class: 0 for
  no limit. draw: another number is another draw. InputError unless 0 < fraction <= 1.
  """
  if not 0 < fraction <= 1 or per_class < 0:
    raise errors.InputError(
      f"data: fraction {fraction} must lie above 0 and at most at 1, per_class {per_class} be at "
      "least 0 (no limit); fraction=0.01 is usual."
    )
  whole = source()
  label, random = whole.label, np.random.RandomState(draw)
  rows = []
  for value in np.unique(label):
    members = random.permutation(np.flatnonzero(label == value))
    count = max(1, round(fraction * len(members)))
    rows.append(members[: min(count, per_class or count)])
  return Subset(whole, np.sort(np.concatenate(rows)))


def balanced(*, source: Callable, power: float = 0.0) -> Mixture:
  """Balances the classes of a source, however many samples each has.

  power: a class of c samples comes in proportion to c**power; 0 is all alike, 1 as they are, 1/2
  the square root. Samples without label are passed over. InputError for a source without labels.
  """
  whole = source()
  label = whole.label
  values = [value for value in np.unique(label) if value >= 0]
  if not values:
    raise errors.InputError(
      "data: there are no labels to balance. Use sub-folders as classes, or the source as it is."
    )
  groups = [np.flatnonzero(label == value) for value in values]
  return Mixture(whole, groups, np.array([len(group) ** power for group in groups], np.float64))


def mixed(*, sources: dict, weights: dict) -> Mixture:
  """Mixes several sources into one stream, each with its weight.

  sources, weights: by the same names, mixed(sources=dict(a=part(...), b=part(...)),
  weights=dict(a=0.7, b=0.3)). An epoch is as many samples as all sources have together. InputError
  for names that differ and sources of different channels.
  """
  for name in {*sources, *weights}:
    if name not in weights or name not in sources:
      raise errors.unknown("data: source or weight", name, {*sources} & {*weights})
  whole = Concat(tuple(sources[name]() for name in sorted(sources)))
  groups = [np.arange(a, b) for a, b in zip(whole.starts[:-1], whole.starts[1:], strict=True)]
  return Mixture(whole, groups, np.array([weights[name] for name in sorted(sources)], np.float64))


def _turns(weights: np.ndarray, length: int) -> np.ndarray:
  """Assigns a group to each of `length` positions: int64 [length], fractions by `weights` [g].

  Fractions are rounded by largest remainders; the turns of each group are evenly spaced.
  """
  exact = weights * length
  counts = np.floor(exact).astype(int)
  short = length - counts.sum()
  counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
  due = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
  return np.repeat(np.arange(len(weights)), counts)[np.argsort(due, kind="stable")]


def fill_of(source) -> dict:
  """Reads by what a source fills up its ragged entries, {entry: value}; those unnamed by 0."""
  return dict(getattr(source, "fill", {}))


def _agreed(fills: list[dict]) -> dict:
  """Merges fill values of sources, one an entry."""
  found: dict = {}
  for fill in fills:
    for entry, value in fill.items():
      if found.setdefault(entry, value) != value:
        raise errors.InputError(
          f"data: sources that are mixed fill up {entry!r} by {found[entry]} and {value}, so that "
          "padding could not be told from data. Give all the same `fill`."
        )
  return found


def _stacked(arrays: list[np.ndarray], fill=0) -> np.ndarray:
  """Concatenates arrays [b ...], the smaller ones filled up at their ends."""
  shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
  if arrays[0].ndim == 4 and len({array.shape[-1] for array in arrays}) > 1:
    counts = ", ".join(str(array.shape[-1]) for array in arrays)
    raise errors.InputError(
      f"data: sources that are mixed have {counts} channels. Give all the same `channels`."
    )
  padded = [
    np.pad(
      x,
      [(0, 0), *((0, most - has) for most, has in zip(shape, x.shape[1:], strict=True))],
      constant_values=fill,
    )
    for x in arrays
  ]
  return np.concatenate(padded)


def _hash(*told: str | bytes) -> str:
  digest = hashlib.blake2b(digest_size=8)
  for text in told:
    digest.update(text.encode() if isinstance(text, str) else text)
  return digest.hexdigest()
