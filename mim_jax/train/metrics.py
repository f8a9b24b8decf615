"""Metrics of a run: a JSON line, a TensorBoard event, a progress bar; fetched one interval late."""

import json
import pathlib
import sys
import time

import jax
import tqdm.auto


class NonFiniteError(RuntimeError):
  """Loss or gradient of a step was not finite; the state before that step was kept."""


class Meter:
  """Writes the metrics of logged steps, as a context manager.

  A logged step's numbers stay on the device until the next one is logged, so that the loop never
  waits for them. That is also when a step that was not finite is found (NonFiniteError).
  """

  def __init__(self, workdir: pathlib.Path, start: int, total: int, batch_size: int):
    """Lines after step `start` in metrics.jsonl are dropped: they will be written again."""
    import tensorboardX  # heavy, and only needed here

    self._file = workdir / "metrics.jsonl"
    kept = [line for line in read(self._file) if line["step"] <= start]
    scratch = self._file.with_suffix(".tmp")
    scratch.write_text("".join(json.dumps(line) + "\n" for line in kept))
    scratch.replace(self._file)
    self._events = tensorboardX.SummaryWriter(str(workdir), purge_step=start + 1)
    self._batch_size, self._start, self._total = batch_size, start, total
    self._pending: tuple[int, dict] | None = None
    self._began = self._last = (time.monotonic(), start)
    terminal = sys.stderr.isatty() or "ipykernel" in sys.modules
    self._bar = tqdm.auto.tqdm(
      total=total * batch_size,
      initial=start * batch_size,
      unit=" images",
      unit_scale=True,
      desc="train",
      disable=not terminal,
    )

  def advance(self) -> None:
    """One more step was started."""
    self._bar.update(self._batch_size)

  def log(self, step: int, metrics: dict) -> None:
    """Keeps `metrics` of step number `step` (1 = the first) and writes those kept before."""
    self._write()
    self._pending = (step, metrics)

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    try:
      if kind is None:
        self._write()
    finally:
      self._events.close()
      self._bar.close()

  def _write(self) -> None:
    if self._pending is None:
      return
    (step, metrics), self._pending = self._pending, None
    line = {k: float(v) for k, v in jax.device_get(metrics).items()}
    check_finite(line.pop("bad_step"))
    now, before = (time.monotonic(), step), self._last
    rate = (step - before[1]) * self._batch_size / max(now[0] - before[0], 1e-9)
    self._last = now
    line = dict(step=step, **line, images_per_second=rate, seconds=now[0] - self._began[0])
    with self._file.open("a") as file:
      file.write(json.dumps(line) + "\n")
    for name, value in line.items():
      self._events.add_scalar(f"train/{name}", value, step)
    self._show(step, line)

  def _show(self, step: int, line: dict) -> None:
    if not self._bar.disable:
      self._bar.set_postfix(loss=f"{line['loss']:.4f}", step=step)
      return
    done = (step - self._start) / max(self._total - self._start, 1)
    left = line["seconds"] / max(done, 1e-9) * (1 - done)
    print(
      f"step {step}/{self._total}  loss {line['loss']:.4f}  "
      f"{line['images_per_second']:,.0f} images/s  {left:.0f} s left",
      file=sys.stderr,
      flush=True,
    )


def check_finite(bad_step) -> None:
  """Raises NonFiniteError if `bad_step` (0 = the first step, -1 = none) names a step."""
  if bad_step >= 0:
    raise NonFiniteError(
      f"step {int(bad_step) + 1}: loss or gradient is not finite. The update was not applied, and "
      "the last checkpoint is untouched. Lower the learning rate, clip gradients (optimizer.clip), "
      "or train in float32 (train.dtype)."
    )


def read(file: pathlib.Path) -> list[dict]:
  """The lines of a metrics.jsonl; a last line cut short by a crash is left out."""
  if not file.exists():
    return []
  lines = []
  for text in file.read_text().splitlines():
    try:
      lines.append(json.loads(text))
    except json.JSONDecodeError:
      break
  return lines
