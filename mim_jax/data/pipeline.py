"""From a source to batches on the host, on Grain. Letters: b batch, n images of the source."""

import contextlib
import functools
import os
import sys
import weakref
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from mim_jax import errors
from mim_jax.data import sources

Batch = dict[str, np.ndarray]


class Batches:
  """An endless iterator over batches whose state is one number, whatever reads them."""

  _reader: Iterator[Batch]
  _stop: weakref.finalize

  def __init__(self, dataset: grain.MapDataset, threads: int, workers: int):
    """dataset: batch i of the run at index i."""
    self._dataset, self._threads, self._workers = dataset, threads, workers
    self._start(0)

  def __iter__(self) -> "Batches":
    """Itself."""
    return self

  def __next__(self) -> Batch:
    """The next batch of this process."""
    batch = next(self._reader)
    self._next += 1
    return batch

  def get_state(self) -> dict[str, int]:
    """Where the run stands, JSON-able; the same on every process."""
    return {"next_batch": self._next}

  def set_state(self, state: dict[str, int]) -> None:
    """Continues behind the batch at which `state` was taken."""
    self.close()
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


def batches(
  source: sources.Source,
  batch_size: int,
  seed: int,
  *,
  shard: tuple[int, int] = (0, 1),
  threads: int | None = None,
  workers: int = 0,
) -> Batches:
  """Endless shuffled batches of `source`; each epoch is another permutation of all its images.

  The order is a function of (seed, index) alone. batch_size counts the images of all processes;
  shard (i, k) returns the i-th of k equal pieces. threads: read ahead, None for one a CPU, at most
  16. workers: processes that read instead, each with its threads, for sources that hold Python up.
  InputError when the source is smaller than a batch or the batch does not divide.
  """
  index, count = shard
  if not 0 <= seed < 2**32:
    raise errors.InputError(f"seed: {seed} is not allowed; give 0 <= seed < 2**32.")
  if batch_size < 1 or batch_size % count:
    fitting = max(batch_size - batch_size % count, count)
    raise errors.InputError(
      f"train.batch_size: {batch_size} images cannot be shared among {count} processes. "
      f"Use a multiple of {count}, say {fitting}."
    )
  if len(source) < batch_size:
    largest = len(source) - len(source) % count
    raise errors.InputError(
      f"train.batch_size: the data has {len(source)} images, fewer than one batch of {batch_size}. "
      + (f"The largest batch that fits is {largest}." if largest else "Give more images.")
    )
  piece = batch_size // count
  offsets = np.arange(index * piece, (index + 1) * piece)
  read = functools.partial(_read, source=source, batch_size=batch_size, offsets=offsets, seed=seed)
  dataset = grain.MapDataset.range(sys.maxsize // batch_size).map(read)
  return Batches(dataset, _threads(threads), workers)


def in_order(source: sources.Source, batch_size: int) -> Iterator[tuple[Batch, int]]:
  """One ordered pass: (batch, real entries); the last image is repeated to fill the last batch."""
  n = len(source)
  dataset = grain.MapDataset.range(0, n, batch_size).map(
    lambda start: source[np.minimum(np.arange(start, start + batch_size), n - 1)]
  )
  with contextlib.closing(_read_ahead(dataset, _threads(None), 0)) as reader:
    for number, batch in enumerate(reader):
      yield batch, min(batch_size, n - number * batch_size)


def order(positions: np.ndarray, n: int, seed: int) -> np.ndarray:
  """Which of n images stand at these positions of the endless stream of epochs: int [b] -> [b]."""
  epochs, places = np.divmod(positions, n)
  chosen = np.empty_like(positions)
  for epoch in np.unique(epochs):
    here = epochs == epoch
    chosen[here] = _permutation(n, seed, int(epoch))[places[here]]
  return chosen


@functools.lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
  # Not Grain's shuffle: it costs 14 µs an image, and its epoch 1 of seed 0 is epoch 0 of seed 1.
  # RandomState, because NumPy has frozen its stream.
  return np.random.RandomState([seed, epoch]).permutation(n)


def _read(batch: int, *, source, batch_size: int, offsets: np.ndarray, seed: int) -> Batch:
  positions = batch * batch_size + offsets
  indices = order(positions, len(source), seed)
  # A source that shows another part of an entry each time, as clips do, is told which time it is.
  draw = getattr(source, "draw", None)
  return source[indices] if draw is None else draw(indices, positions, seed)


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
