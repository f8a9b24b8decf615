"""The input pipeline: from a source to batches on the host, with Grain.

Letters: b batch, n samples of the source.
"""

import contextlib
import functools
import logging
import os
import sys
import weakref
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from mim_jax import errors
from mim_jax.data import sample_order, skipping
from mim_jax.data.image import sources
from mim_jax.data.sample_order import permute as permute

Batch = dict[str, np.ndarray]
_RESTARTS = 3
_DEAD = "terminated unexpectedly"  # what Grain says of a process that was killed
_LESS = (
  "The usual cause is too little memory: lower train.workers, train.threads or train.batch_size. "
  "The same command continues from the last save."
)
_log = logging.getLogger(__name__)


class Batches:
  """Iterates endlessly over batches; the state is the position, whatever reads them.

  Attributes:
    skipped: how many samples could not be read so far; see skipping.SkipUnreadable.
  """

  _reader: Iterator[Batch]
  _stop: weakref.finalize

  def __init__(
    self, dataset: grain.MapDataset, source: skipping.SkipUnreadable, threads: int, workers: int
  ):
    """Takes `dataset`, whose batch i is that of the run at index i, read from `source`."""
    self._dataset, self._source = dataset, source
    self._threads, self._workers = threads, workers
    self._restarts = 0
    self._start(0)

  def __iter__(self) -> "Batches":
    return self

  def __next__(self) -> Batch:
    """Reads the next batch of this process.

    RuntimeError when the processes that read die repeatedly.
    """
    while True:
      try:
        batch = next(self._reader)
        break
      except MemoryError as error:
        raise MemoryError(f"data: no memory left to read batch {self._next}. {_LESS}") from error
      except RuntimeError as error:
        if _DEAD not in str(error):
          raise
        self._restart(error)
    self._source.note(batch.pop(skipping.SKIPPED))
    self._next += 1
    return batch

  @property
  def skipped(self) -> int:
    return len(self._source.skipped)

  def get_state(self) -> dict:
    """Returns the position, JSON-able: the next batch and the samples skipped, if any."""
    skipped = {str(index): why for index, why in self._source.skipped.items()}
    return {"next_batch": self._next} | ({"skipped": skipped} if skipped else {})

  def set_state(self, state: dict) -> None:
    """Continues after the batch at which `state` was taken."""
    self.close()
    self._source.skipped = {int(index): why for index, why in state.get("skipped", {}).items()}
    self._start(int(state["next_batch"]))

  def close(self) -> None:
    """Ends the iteration, and the threads and processes that read ahead."""
    self._stop()
    self._reader = iter(())

  def _start(self, batch: int) -> None:
    self._next = batch
    reader = _read_ahead(self._dataset[batch:], self._threads, self._workers)
    self._reader = reader
    # Also when the program ends: Grain's own clean-up comes so late then that it complains.
    self._stop = weakref.finalize(self, reader.close)

  def _restart(self, error: Exception) -> None:
    """Resumes reading at the same batch after a process that read has died; a few times only."""
    where = f"data: a process that read ahead from batch {self._next} on has died ({error})"
    if self._restarts >= _RESTARTS:
      raise RuntimeError(f"{where}, for the {self._restarts + 1}th time. {_LESS}") from error
    self._restarts += 1
    _log.warning("%s; reading starts anew there.", where)
    self.close()
    self._start(self._next)


def batches(
  source: sources.Source,
  batch_size: int,
  seed: int,
  *,
  shard: tuple[int, int] = (0, 1),
  threads: int | None = None,
  workers: int = 0,
  skip_rate: float = skipping.MAX_SKIPPED,
) -> Batches:
  """Yields endless shuffled batches of `source`; each epoch permutes all its samples anew.

  The order is a function of (seed, index) alone.

  batch_size: counts the samples of all processes.
  shard: (i, k) returns the i-th of k equal pieces.
  threads: read ahead, None for one a CPU, at most 16.
  workers: processes that read instead, each with its threads, for sources that hold Python up.
  skip_rate: the fraction of samples that may be unreadable, see skipping.SkipUnreadable.

  InputError when the source is smaller than a batch or the batch does not divide.
  """
  _check(len(source), batch_size, seed, shard[1])
  piece = batch_size // shard[1]
  offsets = np.arange(shard[0] * piece, (shard[0] + 1) * piece)
  if isinstance(source, skipping.SkipUnreadable):
    whole = source.fresh()
  else:
    whole = skipping.SkipUnreadable(source, skip_rate)
  read = functools.partial(_read, source=whole, batch_size=batch_size, offsets=offsets, seed=seed)
  dataset = grain.MapDataset.range(sys.maxsize // batch_size).map(read)
  return Batches(dataset, whole, _threads(threads), workers)


def _check(samples: int, batch_size: int, seed: int, count: int) -> None:
  """Validates batch size against dataset size and process count. Errors: InputError."""
  if not 0 <= seed < 2**32:
    raise errors.InputError(f"seed: {seed} is not allowed; give 0 <= seed < 2**32.")
  if batch_size < 1 or batch_size % count:
    fitting = max(batch_size - batch_size % count, count)
    raise errors.InputError(
      f"train.batch_size: {batch_size} samples cannot be shared among {count} processes. "
      f"Use a multiple of {count}, say {fitting}."
    )
  if samples < batch_size:
    largest = samples - samples % count
    raise errors.InputError(
      f"train.batch_size: the data has {samples} samples, fewer than one batch of {batch_size}. "
      + (f"The largest batch that fits is {largest}." if largest else "Give more samples.")
    )


def in_order(source: sources.Source, batch_size: int) -> Iterator[tuple[Batch, int]]:
  """Yields (batch, real entries) of one ordered pass.

  The last sample is repeated to fill the last batch.
  """
  n = len(source)
  dataset = grain.MapDataset.range(0, n, batch_size).map(
    lambda start: source[np.minimum(np.arange(start, start + batch_size), n - 1)]
  )
  with contextlib.closing(_read_ahead(dataset, _threads(None), 0)) as reader:
    for number, batch in enumerate(reader):
      yield batch, min(batch_size, n - number * batch_size)


def first(source: skipping.SkipUnreadable, count: int, seed: int) -> Batch:
  """Reads the first samples as training sees them; a source of fewer repeats them."""
  batch = _read(0, source=source, batch_size=count, offsets=np.arange(count), seed=seed)
  del batch[skipping.SKIPPED]
  return batch


def _read(batch: int, *, source, batch_size: int, offsets: np.ndarray, seed: int) -> Batch:
  positions = batch * batch_size + offsets
  indices = source.order(positions, seed)

  def drawn(rows, places):
    return sample_order.read_at(source.source, rows, positions[places], seed)

  return source.attempt(indices, drawn)


def _read_ahead(dataset: grain.MapDataset, threads: int, workers: int) -> grain.DatasetIterator:
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
  ahead = dataset.to_iter_dataset(options)
  if workers:
    if not flags.FLAGS.is_parsed():  # in a notebook, say; Grain's processes ask for absl's flags
      flags.FLAGS.mark_as_parsed()
    ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
  return iter(ahead)


def _threads(threads: int | None) -> int:
  if threads is not None:
    return threads
  usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
  return min(16, len(usable(0)))  # each holds a batch
