"""Checkpoints: one atomic Orbax save of state, data position, config and a checksum per array."""

import json
import pathlib
import zlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mim_jax.errors import InputError
from mim_jax.train import names

FORMAT = 1


class Checkpoints:
  """The checkpoints of a run folder, one a step; saving goes on in the background."""

  def __init__(self, folder: pathlib.Path, keep: int = 2):
    """`keep`: how many of the newest stay."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
    self.folder = folder

  def latest(self) -> int | None:
    """The newest step that was saved whole, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state, extra: dict) -> None:
    """Saves `state` and the JSON data `extra` as `step`, unless that is there already."""
    if self.latest() == step:
      return
    extra = dict(extra, format=FORMAT, checksums=checksums(state))
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(extra))
    self._manager.save(step, args=items)

  def restore(self, like) -> tuple[Any, dict]:
    """(state, extra) of the newest step, placed as the abstract `like` says; checksums are
    verified.
    """
    step = self.latest()
    extra = self.extra(step)
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore(like))
    state = self._manager.restore(step, args=wanted)["state"]
    for name, found in checksums(state).items():
      if extra["checksums"].get(name) != found:
        raise InputError(
          f"{self.folder / str(step)}: the array {name!r} is damaged (its checksum differs from "
          "the one saved with it). Delete that step's folder to go back to the one before it."
        )
    return state, extra

  def extra(self, step: int | None = None) -> dict:
    """The JSON data saved with a step (default: the newest)."""
    step = self.latest() if step is None else step
    if step is None:
      raise InputError(
        f"{self.folder}: there is no finished checkpoint here. Train first, or check --workdir."
      )
    wanted = ocp.args.Composite(extra=ocp.args.JsonRestore())
    extra = self._manager.restore(step, args=wanted)["extra"]
    if extra.get("format") != FORMAT:
      raise InputError(
        f"{self.folder / str(step)}: checkpoint format {extra.get('format')!r}, but this version "
        f"reads {FORMAT}. Resume it with the version of mim_jax that wrote it."
      )
    return json.loads(json.dumps(extra))

  def close(self) -> None:
    """Waits for saves under way; an error of one is raised here."""
    self._manager.wait_until_finished()
    self._manager.close()


def checksums(state) -> dict[str, int]:
  """CRC-32 of every array that this process holds whole, by name."""
  leaves = [
    (n, x) for n, x in names.named_leaves(state) if getattr(x, "is_fully_addressable", True)
  ]
  arrays = jax.device_get([x for _, x in leaves])
  return {
    name: zlib.crc32(np.ascontiguousarray(array).tobytes())
    for (name, _), array in zip(leaves, arrays, strict=True)
  }
