"""Progress of a run: a bar in a terminal or a notebook, and a line now and then in a log file."""

import os
import sys
import time
import warnings

import tqdm

QUIET = 10.0  # seconds between lines in a log file


class Progress:
  """Shows speed, time left and loss of a run, on stderr."""

  def __init__(self, start: int, total: int, batch_size: int, shown: bool = True):
    """Shows steps `start` to `total`; not `shown`: nothing (another process does)."""
    self._start, self._total, self._batch_size = start, total, batch_size
    self._shown, self._last = shown, -QUIET
    live = shown and (sys.stderr.isatty() or in_notebook())
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", tqdm.TqdmWarning)  # without ipywidgets a bar of text will do
      from tqdm import auto
    self._bar = auto.tqdm(
      mininterval=1.0 if in_notebook() else 0.1,  # a notebook keeps every state of a bar of text
      desc="train",
      total=total * batch_size,
      initial=start * batch_size,
      unit=" samples",
      unit_scale=True,
      dynamic_ncols=bool(columns()),
      ncols=None if columns() else 80,
      disable=not live,
    )

  def advance(self) -> None:
    """Counts one more step that was started."""
    self._bar.update(self._batch_size)

  def show(self, step: int, loss: float | None, rate: float, seconds: float) -> None:
    """Shows what is known of step number `step`: loss, samples a second, seconds so far."""
    said = "not finite" if loss is None else f"{loss:.4f}"
    if not self._bar.disable:
      self._bar.set_postfix(loss=said, step=step)
      return
    now = time.monotonic()
    if step < self._total and now - self._last < QUIET:
      return
    self._last = now
    done = (step - self._start) / max(self._total - self._start, 1)
    left = tqdm.tqdm.format_interval(seconds / max(done, 1e-9) * (1 - done))
    self.say(f"step {step}/{self._total}  loss {said}  {rate:,.0f} samples/s  {left} left")

  def say(self, text: str) -> None:
    """Prints a line of its own, above the bar."""
    if self._shown:
      tqdm.tqdm.write(text, file=sys.stderr)
      sys.stderr.flush()

  def close(self) -> None:
    """Leaves the bar unchanged and ends it."""
    self._bar.close()


def columns() -> int:
  """Measures the width of the terminal.

  0 without one, and where it has none, as in many containers.
  """
  try:
    return os.get_terminal_size(sys.stderr.fileno()).columns
  except (OSError, ValueError):
    return 0


def in_notebook() -> bool:
  """Tells whether this process is the kernel of a notebook."""
  return "ipykernel" in sys.modules
