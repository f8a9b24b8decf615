"""Metrics of a run: JSON lines, progress and trackers; fetched one interval late."""

import collections
import json
import math
import os
import pathlib
import statistics
import time

import jax

from mim_jax import errors
from mim_jax.monitor import goodput, numerics, progress, trackers

# What a line says of the machine; everything else is the same however often a run was stopped.
LOSSES = tuple(kind for kind in goodput.KINDS if kind != "steps")
# Names of the first edition, which knew images alone.
OLD_NAMES = dict(images_per_second="samples_per_second", flops_per_image="flops_per_sample")
TIMING = ("samples_per_second", "seconds", "goodput", *(f"seconds_{kind}" for kind in LOSSES))
FILE = "metrics.jsonl"  # of a run folder
EVAL = "eval/"  # how the names of evaluations in training begin; they have lines of their own
SPIKE, HISTORY = 10.0, 50  # warn of a gradient norm this many times the median of so many lines


class Meter:
  """Writes the metrics of logged steps, as a context manager.

  A logged step's numbers stay on the device until the next one is logged, so that the loop never
  waits for them. That is also when a step that was not finite is found (NonFiniteError).
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    start: int,
    total: int,
    settings,
    clock: goodput.Clock | None = None,
    notes: dict | None = None,
  ):
    """Lines after step `start` in metrics.jsonl are dropped: they will be written again.

    `settings`: config.train. `notes`: of `flush`, from the checkpoint of step `start`.
    """
    self._batch_size, self._start, self._total = settings.batch_size, start, total
    self._clock = clock or goodput.Clock()
    self._pending: tuple[int, dict, list, float] | None = None
    self._interval: list[tuple[int, dict]] = []
    self._notes = dict(peak=0.0, skipped=0, in_a_row=0) | (notes or {})
    self._losses: list[float] = []
    self._began, self._last = time.monotonic(), (self._worked(), start)
    self._file, self._writes = workdir / FILE, jax.process_index() == 0
    kept = [line for line in read(self._file) if line["step"] <= start]
    self._probed = {line["step"] for line in kept if any(key.startswith(EVAL) for key in line)}
    norms = [line["gradient_norm"] for line in kept[-HISTORY:] if line.get("gradient_norm")]
    self._norms = collections.deque(norms, maxlen=HISTORY)
    if self._writes:
      _write(self._file, "".join(json.dumps(line) + "\n" for line in kept))
      self._trackers = trackers.Trackers(workdir, start, settings)
    self._progress = progress.Progress(start, total, self._batch_size, shown=self._writes)

  def advance(self, step: int, metrics: dict) -> None:
    """Notes that step number `step` (1 = the first) was started; `metrics` lie on the device."""
    self._progress.advance()
    watched = {k: metrics[k] for k in ("gradient_norm", "skipped") if k in metrics}
    self._interval.append((step, watched))

  def log(self, step: int, metrics: dict) -> None:
    """Keeps `metrics` of step number `step` and writes those kept before."""
    self._write()
    # Now, not when it is written: that may be an interval later, or at once, before a save.
    self._pending, self._interval = (step, metrics, self._interval, self._worked()), []

  def flush(self) -> tuple[dict, float | None]:
    """Flushes to disk.

    Returns the state a resumed Meter needs and the mean loss since the last flush.
    """
    self._write()
    self._accumulate(self._interval)
    self._interval = []
    if self._writes and self._file.exists():
      with self._file.open("a") as file:
        os.fsync(file.fileno())
    losses, self._losses = self._losses, []
    return dict(self._notes), statistics.fmean(losses) if losses else None

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    try:
      if kind is None:
        self._write()
    finally:
      if self._writes:
        self._trackers.close()
      self._progress.close()

  def _worked(self) -> float:
    """Reads a clock, in seconds, that stands still during evaluations."""
    return time.monotonic() - self._clock.read()["evaluate"]

  def probed(self, step: int) -> bool:
    """Tells whether metrics.jsonl has evaluations of this step.

    Known to the process that writes.
    """
    return self._writes and step in self._probed

  def probe(self, step: int, numbers: dict[str, float]) -> None:
    """Writes evaluations of step number `step` as a line of their own, behind that of the step."""
    self._write()
    if not numbers or not self._writes:
      return
    line = {name: numerics.finite_or_none(value) for name, value in numbers.items()}
    self._append(step, dict(step=step, **line))
    self._probed.add(step)
    shown = "  ".join(f"{name.removeprefix(EVAL)} {value:.4g}" for name, value in numbers.items())
    self._progress.say(f"step {step}/{self._total}  {shown}")

  def _accumulate(self, interval: list[tuple[int, dict]]) -> None:
    """Adds the steps of an interval to the notes. Errors: NonFiniteError after many skips."""
    notes = self._notes
    for step, watched in jax.device_get(interval):
      skipped = bool(watched.get("skipped", 0))
      norm = float(watched["gradient_norm"])
      notes["peak"] = max(notes["peak"], norm) if math.isfinite(norm) else notes["peak"]
      notes["skipped"] += skipped
      notes["in_a_row"] = notes["in_a_row"] + 1 if skipped else 0
      if notes["in_a_row"] == numerics.SKIPS:
        raise numerics.NonFiniteError(
          step - 1,
          f"step {step}: loss or gradient was not finite {numerics.SKIPS} steps in a row, so "
          f"skipping them (train.on_non_finite=skip) does not help. {numerics.REMEDY}",
        )

  def _write(self) -> None:
    if self._pending is None:
      return
    (step, metrics, interval, reached), self._pending = self._pending, None
    line = {k: numerics.finite_or_none(v) for k, v in jax.device_get(metrics).items()}
    numerics.check_finite(line.pop("bad_step"))
    self._accumulate(interval)
    line["gradient_norm_max"] = self._notes["peak"]
    if line.pop("skipped", None) is not None:
      line["skipped_steps"] = self._notes["skipped"]
    self._warn(step, line)
    self._notes.update(peak=0.0, skipped=0)
    began, before = self._last
    # The host runs ahead of the device by an interval, which only the first line would not know.
    now = self._worked() if before == self._start else reached
    rate = (step - before) * self._batch_size / max(now - began, 1e-9)
    self._last = (reached, step)
    spent = self._clock.read()
    lost = (spent[kind] for kind in LOSSES)
    timing = (rate, time.monotonic() - self._began, self._clock.goodput(), *lost)
    self._emit(step, dict(step=step, **line, **dict(zip(TIMING, timing, strict=True))))

  def _warn(self, step: int, line: dict) -> None:
    peak, skipped = line["gradient_norm_max"], line.get("skipped_steps", 0)
    usual = statistics.median(self._norms) if len(self._norms) >= HISTORY // 5 else math.inf
    if self._writes and peak > SPIKE * usual:
      errors.tell(
        "warning",
        f"gradient norm {peak:.3g} in the steps up to {step}, {peak / usual:.0f} times "
        "what is usual.",
      )
    if self._writes and skipped:
      errors.tell("warning", f"{skipped} of the steps up to {step} were not finite and skipped.")
    if line["gradient_norm"] is not None:
      self._norms.append(line["gradient_norm"])

  def _emit(self, step: int, line: dict) -> None:
    if line["loss"] is not None:
      self._losses.append(line["loss"])
    if self._writes:
      self._append(step, line)
      rate, seconds = line["samples_per_second"], line["seconds"]
      self._progress.show(step, line["loss"], rate, seconds)

  def _append(self, step: int, line: dict) -> None:
    with self._file.open("a") as file:
      file.write(json.dumps(line) + "\n")
    numbers = {k if "/" in k else f"train/{k}": v for k, v in line.items() if v is not None}
    self._trackers.add(step, numbers)


def read(file: pathlib.Path) -> list[dict]:
  """Reads the lines of a metrics.jsonl; a last line cut short by a crash is left out."""
  if not file.exists():
    return []
  lines = []
  for text in file.read_text().splitlines():
    try:
      lines.append(current(json.loads(text)))
    except json.JSONDecodeError:
      break
  return lines


def current(numbers: dict) -> dict:
  """Reads numbers that older runs call by other names as today's."""
  return {OLD_NAMES.get(name, name): value for name, value in numbers.items()}


def text(workdir: pathlib.Path) -> str:
  """Reads metrics.jsonl of a run folder unchanged, in the process that writes it; "" in others."""
  file = workdir / FILE
  return file.read_text() if jax.process_index() == 0 and file.exists() else ""


def restore(workdir: pathlib.Path, saved: str) -> None:
  """Restores metrics.jsonl from a checkpoint's copy, where lines of it are missing.

  So they are if the run folder was lost, or process 0 has meanwhile been on another host.
  """
  if jax.process_index() == 0 and not text(workdir).startswith(saved):
    _write(workdir / FILE, saved)
    tell(f"{workdir / FILE}: lines were missing, and were put back from the checkpoint.")


def _write(file: pathlib.Path, text: str) -> None:
  scratch = file.with_suffix(".tmp")
  scratch.write_text(text)
  scratch.replace(file)


def tell(text: str) -> None:
  """Prints a notice for the person at the terminal."""
  if jax.process_index() == 0:
    errors.tell("notice", text)
