"""Watchdog: dumps the stacks of a run that hangs and ends it, so that it can be started again."""

import contextlib
import faulthandler
import math
import os
import sys
import threading
import time

EXIT = 3


class _Heartbeat:
  """Keeps the time of the last step."""

  def __init__(self):
    self.last, self.done = time.monotonic(), threading.Event()

  def step(self) -> None:
    """Notes that one more step was done."""
    self.last = time.monotonic()

  @contextlib.contextmanager
  def resting(self):
    """Suspends the watchdog in a with-block."""
    self.last = math.inf
    try:
      yield
    finally:
      self.step()


@contextlib.contextmanager
def watching(seconds: float, file=None):
  """Expects `.step()` at least every `seconds`; else dumps all stacks and exits with code 3.

  0 watches nothing. `file`: where to write, else standard error.
  """
  heartbeat = _Heartbeat()
  watcher = threading.Thread(target=_watch, args=(heartbeat, seconds, file), daemon=True)
  if seconds:
    watcher.start()
  try:
    yield heartbeat
  finally:
    heartbeat.done.set()


def _watch(heartbeat: _Heartbeat, seconds: float, file) -> None:
  file = file or sys.stderr
  while not heartbeat.done.wait(min(seconds / 4, 10.0)):
    waited = time.monotonic() - heartbeat.last
    if waited > seconds:
      print(
        f"\nwatchdog: no step for {waited:.0f} s (train.watchdog={seconds:g}). What every thread "
        f"is doing follows; then this process exits with code {EXIT}. The last checkpoint stands: "
        "the same command continues from there.\n",
        file=file,
        flush=True,
      )
      faulthandler.dump_traceback(file, all_threads=True)
      os._exit(EXIT)
