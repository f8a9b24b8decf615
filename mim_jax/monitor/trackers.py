"""Experiment trackers that a config enables: TensorBoard, Weights & Biases. None ends a run."""

import json
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from mim_jax import errors

REMEDY = {
  "tensorboard": "pip install tensorboardX, or train.tensorboard=False",
  "wandb": "pip install wandb, then `wandb login` or WANDB_MODE=offline, or train.wandb=''",
}


class Trackers:
  """Logs to the enabled trackers. One that raises is logged once and disabled."""

  def __init__(self, workdir: pathlib.Path, start: int, settings):
    """Takes config.train, of which `tensorboard` and `wandb`; `start`: steps done before."""
    self._open: dict[str, Any] = {}
    if getattr(settings, "tensorboard", False):
      self._try("tensorboard", lambda: TensorBoard(workdir, start))
    if project := getattr(settings, "wandb", ""):
      self._try("wandb", lambda: Wandb(workdir, project))

  def add(self, step: int, numbers: dict[str, float]) -> None:
    """Logs numbers by name, of step number `step`."""
    for name in list(self._open):
      self._try(name, lambda name=name: self._open[name].add(step, numbers))

  def close(self) -> None:
    """Writes what is still to be written."""
    for name in list(self._open):
      self._try(name, lambda name=name: self._open[name].close())

  def _try(self, name: str, act: Callable) -> None:
    try:
      made = act()
    except Exception as error:  # training must not depend on who looks on
      self._open.pop(name, None)
      said = str(error).partition("\n")[0].rstrip(".")
      errors.tell(
        "warning",
        f"{name} is disabled: {type(error).__name__}: {said}. Training continues, "
        f"metrics.jsonl has every number. Remedy: {REMEDY[name]}.",
      )
    else:
      if made is not None:
        self._open[name] = made


class TensorBoard:
  """Writes event files in the run folder.

  What an earlier call wrote after step `start` is hidden.
  """

  def __init__(self, workdir: pathlib.Path, start: int):
    """Opens a new event file."""
    import tensorboardX  # heavy, and only needed here

    self._writer = tensorboardX.SummaryWriter(str(workdir), purge_step=start + 1)

  def add(self, step: int, numbers: dict[str, float]) -> None:
    for name, value in numbers.items():
      self._writer.add_scalar(name, value, step)

  def close(self) -> None:
    self._writer.close()


class Wandb:
  """Logs to a run of a Weights & Biases project, named like the run folder.

  A run that is resumed stays the same one.
  """

  def __init__(self, workdir: pathlib.Path, project: str):
    """Starts or resumes it; its id is kept in wandb.json."""
    import wandb

    note, config = workdir / "wandb.json", workdir / "config.json"
    if not note.exists():
      note.write_text(json.dumps({"id": uuid.uuid4().hex}) + "\n")
    self._run = wandb.init(
      project=project,
      name=workdir.name,
      dir=str(workdir),
      id=json.loads(note.read_text())["id"],
      resume="allow",
      config=json.loads(config.read_text()) if config.exists() else {},
    )

  def add(self, step: int, numbers: dict[str, float]) -> None:
    self._run.log(numbers, step=step)

  def close(self) -> None:
    self._run.finish()
