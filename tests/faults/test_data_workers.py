"""Processes that read and die, and memory that runs out."""

import logging
import os
import signal

import numpy as np
import pytest

from mim_jax import errors
from mim_jax.data import pipeline


class Fatal:
  """A source of n entries; reading number `at` does what `how` says."""

  classes = ()
  fingerprint = "fatal"

  def __init__(self, n, at, how, mark=None):
    self.n, self.at, self.how, self.mark = n, at, how, mark

  def __len__(self):
    return self.n

  def names(self, indices):
    return [str(index) for index in indices]

  def __getitem__(self, indices):
    if self.at in indices:
      self.how(self)
    return {"label": np.asarray(indices, np.int32)}


def die(source):
  os.kill(os.getpid(), signal.SIGKILL)


def die_once(source):
  if not os.path.exists(source.mark):
    open(source.mark, "w").close()
    die(source)


def out_of_memory(source):
  raise MemoryError


def mistake(source):
  raise KeyError("a bug")


def labels(batches, count):
  return np.concatenate([next(batches)["label"] for _ in range(count)])


@pytest.mark.slow
def test_reading_goes_on_where_a_process_died(tmp_path, caplog):
  expected = labels(pipeline.batches(Fatal(40, -1, die), 8, 0), 8)
  batches = pipeline.batches(Fatal(40, 5, die_once, str(tmp_path / "died")), 8, 0, workers=1)
  with caplog.at_level(logging.WARNING):
    found = labels(batches, 8)
  batches.close()
  np.testing.assert_array_equal(found, expected)
  assert any("exit code -9" in record.getMessage() for record in caplog.records)


@pytest.mark.slow
def test_processes_that_die_again_and_again_end_the_run():
  batches = pipeline.batches(Fatal(40, 5, die), 8, 0, workers=1)
  with pytest.raises(RuntimeError, match=r"batch \d on has died.*exit code -9.*train\.workers"):
    labels(batches, 8)
  batches.close()


@pytest.mark.parametrize(
  ("how", "kind", "words"),
  [(out_of_memory, MemoryError, r"read batch 4\..*train\.threads"), (mistake, KeyError, "a bug")],
)
def test_memory_that_runs_out_names_the_batch_and_mistakes_come_as_they_are(how, kind, words):
  batches = pipeline.batches(Fatal(40, 5, how), 8, 0)
  with pytest.raises(kind, match=words):
    labels(batches, 6)
  batches.close()


def test_other_errors_of_input_are_no_skips():
  def refuse(source):
    raise errors.InputError("a setting is wrong")

  with pytest.raises(errors.InputError, match="a setting is wrong"):
    labels(pipeline.batches(Fatal(40, 5, refuse), 8, 0), 6)
