"""Skipping of samples that cannot be read. Letters: b batch, n samples."""

import logging
import math
from collections.abc import Callable

import numpy as np

from mim_jax import errors
from mim_jax.data import sample_order

MAX_SKIPPED = 0.001
SKIPPED = "skipped"  # key of a batch: which samples of the source were replaced, int64 [any]
_log = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]


class SkipUnreadable:
  """Replaces samples of a Source that cannot be read by the next readable one.

  Which one is a function of the files alone, so a run that is resumed sees what an unbroken one
  would. Each is logged once; more than `fraction` of all samples (rounded up) that cannot be read
  are an InputError.

  Attributes:
    source: where the samples come from.
    skipped: the samples noted as unreadable so far, {index: why}.
  """

  def __init__(self, source, fraction: float = MAX_SKIPPED):
    """Takes `fraction`: 0 allows none, 1 all. InputError for others than 0 to 1."""
    if not 0 <= fraction <= 1:
      raise errors.InputError(
        f"train.skip_rate: {fraction} is no fraction of the samples; give 0 (none may be "
        f"unreadable) to 1, say {MAX_SKIPPED}."
      )
    self.source, self.fraction = source, fraction
    self.skipped: dict[int, str] = {}
    self._told: set[int] = set()
    self._bad: set[int] = set()

  def fresh(self) -> "SkipUnreadable":
    """Copies the Source with nothing skipped so far; what was logged is not logged again."""
    other = SkipUnreadable(self.source, self.fraction)
    other._told = self._told
    return other

  def __len__(self) -> int:
    """Counts samples, unreadable ones included."""
    return len(self.source)

  @property
  def classes(self) -> tuple[str, ...]:
    return self.source.classes

  @property
  def label(self) -> np.ndarray:
    return self.source.label

  @property
  def fingerprint(self) -> str:
    return self.source.fingerprint

  def names(self, indices: np.ndarray) -> list[str]:
    return self.source.names(indices)

  def order(self, positions: np.ndarray, seed: int) -> np.ndarray:
    return sample_order.indices_at(self.source, positions, seed)

  def __getitem__(self, indices: np.ndarray) -> Batch:
    batch = self.attempt(indices, lambda rows, _: self.source[rows])
    self.note(batch.pop(SKIPPED))
    return batch

  def attempt(self, indices: np.ndarray, read: Callable[[np.ndarray, np.ndarray], Batch]) -> Batch:
    """Calls read(indices, places in the batch), unreadable samples replaced and SKIPPED added."""
    indices, skipped = self._around(indices)
    places = np.arange(len(indices))
    try:
      return {**read(indices, places), SKIPPED: np.array(skipped, np.int64)}
    except errors.UnreadableError:
      pass  # found one by one below, and known from then on
    rows, found = [], {}
    for place, index in enumerate(indices):
      while True:
        try:
          rows.append(read(np.array([index]), places[place : place + 1]))
          break
        except errors.UnreadableError as error:
          found[int(index)] = str(error)
          self._check(found)  # or a source without any readable sample would never end
          index = (index + 1) % len(self)
    self._bad |= {*found}
    batch = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    return {**batch, SKIPPED: np.array([*skipped, *found], np.int64)}

  def _around(self, indices: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Replaces indices known to be unreadable: (the indices, the ones that were replaced)."""
    if not self._bad:
      return indices, []
    replaced, skipped = indices.copy(), []
    for place, index in enumerate(indices.tolist()):
      while index in self._bad:
        skipped.append(index)
        index = (index + 1) % len(self)
      replaced[place] = index
    return replaced, skipped

  def note(self, skipped: np.ndarray) -> None:
    """Logs the samples replaced in a batch, each once, and checks the fraction allowed."""
    for index in skipped.tolist():
      if index not in self.skipped:
        self.skipped[index] = self._why(index)
        self._check(self.skipped)
        self._tell(index)

  def _tell(self, index: int) -> None:
    if index not in self._told:
      self._told.add(index)
      count = len(self.skipped)
      _log.warning("%s Another sample takes its place (%d so far).", self.skipped[index], count)

  def _why(self, index: int) -> str:
    """Reads a sample again to say what is wrong, since another process may have read it."""
    try:
      self.source[np.array([index])]
    except errors.UnreadableError as error:
      return str(error)
    return f"data: {self.names(np.array([index]))[0]} could not be read for a while."

  def _check(self, skipped: dict[int, str]) -> None:
    if len(skipped) > math.ceil(self.fraction * len(self)):
      raise errors.InputError(
        f"{list(skipped.values())[-1]} With it, {len(skipped)} of {len(self):,} samples cannot be "
        f"read, more than the fraction of {self.fraction:g} that train.skip_rate allows. Mend "
        "or remove them, or raise train.skip_rate."
      )
