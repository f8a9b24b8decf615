"""Graceful stop: the first signal finishes the step and saves, the second exits at once."""

import contextlib
import os
import signal
import sys
import threading


class Stop:
  """Holds the number of the signal that asked to stop, 0 while there is none."""

  signal = 0


@contextlib.contextmanager
def graceful_stop():
  """Notes the first SIGTERM or SIGINT in `.signal`; at a second one the process exits.

  The exit code is 128 + the signal's number. In a notebook a second SIGINT is a KeyboardInterrupt.
  """
  stop, before = Stop(), {}

  def ask(number, frame):
    name = signal.Signals(number).name
    if not stop.signal:
      stop.signal = number
      print(f"\n{name}: finishing this step, then saving. Once more exits at once.", flush=True)
    elif number == signal.SIGINT and "ipykernel" in sys.modules:
      raise KeyboardInterrupt
    else:
      # Not print: the signal may have come while it was printing.
      os.write(2, f"\n{name} again: exiting at once; the last checkpoint stands.\n".encode())
      os._exit(128 + number)

  if threading.current_thread() is threading.main_thread():
    before = {n: signal.signal(n, ask) for n in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield stop
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
