"""Checkpoints: one atomic Orbax save of state, data position and config, with checksums of all."""

import contextlib
import json
import tempfile
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as managers

from mim_jax.checkpoint import digests, location
from mim_jax.errors import InputError, RunError

FORMAT = 2  # 1 had CRC-32 of arrays, none of files
READS = (1, 2)
MARGIN = 1.1  # of the bytes of the arrays, for what a checkpoint holds besides


class SaveError(RunError):
  """Reports a checkpoint that could not be written; those before it were kept."""


class DamageError(InputError):
  """Reports a checkpoint that holds other bytes than were saved.

  Attributes: `what`, the first sentence, without the remedy.
  """

  def __init__(self, what: str):
    super().__init__(
      f"{what}. With --config.train.on_damage=previous the run continues from the newest "
      "checkpoint that is whole; or put that step's files back from a copy."
    )
    self.what = what


class Checkpoints:
  """Saves and restores the checkpoints of a run, one a step; saving continues in the background.

  A directory gets a step by a rename, so whole or not at all. A bucket has no renames: a step there
  is whole once Orbax has put commit_success.txt beside its files.
  """

  def __init__(
    self,
    folder,
    keep: int = 2,
    *,
    keep_every: int = 0,
    keep_best: int = 0,
    writes: bool = True,
  ):
    """Opens `folder`, a directory or gs://BUCKET/FOLDER.

    `keep`: how many of the newest stay, at least 1; besides them every `keep_every`-th step, and
    the `keep_best` of least loss. `writes`: this process owns the folder, and removes what saves
    that were killed have left.
    """
    self.folder = location.resolve(folder)
    if writes and jax.process_index() == 0:
      for scratch in ocp.utils.tmp_checkpoints(self.folder):
        scratch.get().rmtree()
    policies: list = [managers.LatestN(max(keep, 1))]
    if keep_every:
      policies.append(managers.EveryNSteps(keep_every))
    if keep_best:
      policies.append(
        managers.BestN(
          get_metric_fn=_loss, reverse=True, n=keep_best, keep_checkpoints_without_metrics=False
        )
      )
    self._manager = ocp.CheckpointManager(
      self.folder,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=managers.AnyPreservationPolicy(policies),
        best_fn=_loss if keep_best else None,
        best_mode="min",
        async_options=ocp.AsyncOptions(post_finalization_callback=self._before_commit),
      ),
    )
    self._saving: int | None = None  # the step of the save under way
    self._good = self._manager.latest_step()  # the newest known to be whole

  def latest(self) -> int | None:
    """Finds the newest step that was saved whole; None without one."""
    return self._manager.latest_step()

  def steps(self) -> list[int]:
    """Lists all steps that were saved whole, oldest first."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state, extra: dict, loss: float | None = None) -> None:
    """Saves `state` and the JSON data `extra` as `step`, unless that is there already.

    Errors: SaveError, also for the save before this one.
    """
    self.wait()
    if self.latest() == step:
      return
    extra = dict(extra, format=FORMAT, checksums=digests.of_arrays(state))
    extra["own"] = digests.of_json(extra)
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(extra))
    self._saving = step
    try:
      check_free_bytes(self.folder, step, state, self._good)
      self._manager.save(step, args=items, metrics=None if loss is None else {"loss": loss})
    except SaveError:
      raise
    except Exception as error:
      raise self._failed(error) from error

  def check(self) -> None:
    """Raises the error of a save that failed in the background, if one did."""
    try:
      self._manager.check_for_errors()
      if not self._manager.is_saving_in_progress():
        self.wait()
    except SaveError:
      raise
    except Exception as error:
      raise self._failed(error) from error

  def wait(self) -> None:
    """Waits for a save under way. Errors: SaveError."""
    try:
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except Exception as error:
      raise self._failed(error) from error
    self._good, self._saving = self._saving or self._good, None

  def restore(self, like) -> tuple[Any, dict]:
    """Restores (state, extra) of the newest step, placed as the abstract `like` says.

    Errors: DamageError names the file or array whose bytes are not those that were saved.
    """
    step = self.latest()
    extra = self.extra(step)
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore(like))
    try:
      state = self._manager.restore(step, args=wanted)["state"]
    except Exception as error:
      if _is_damage(error):
        raise self._damaged(step, _first_line(error)) from error
      raise
    sums = digests.crc_of_arrays if extra["format"] == 1 else digests.of_arrays
    for name, found in sums(state).items():
      if extra["checksums"].get(name) != found:
        raise self._damaged(
          step, f"the array {name!r} is damaged (its checksum differs from the one saved with it)"
        )
    return state, extra

  def extra(self, step: int | None = None) -> dict:
    """Reads the JSON data saved with a step (default: the newest), whose files are verified."""
    step = self.latest() if step is None else step
    if step is None:
      raise InputError(
        f"{self.folder}: there is no finished checkpoint here. Train first, or check --workdir."
      )
    if found := digests.damaged(self.folder / str(step)):
      raise self._damaged(step, "; ".join(found[:5]))
    wanted = ocp.args.Composite(extra=ocp.args.JsonRestore())
    try:
      extra = json.loads(json.dumps(self._manager.restore(step, args=wanted)["extra"]))
    except Exception as error:
      raise self._damaged(step, _first_line(error)) from error
    if extra.get("format") not in READS:
      raise InputError(
        f"{self.folder / str(step)}: checkpoint format {extra.get('format')!r}, but this version "
        f"reads {' and '.join(map(str, READS))}. Resume it with the version of mim_jax that wrote "
        "it."
      )
    if extra["format"] > 1 and extra.pop("own", None) != digests.of_json(extra):
      raise self._damaged(step, "its JSON data (item 'extra') differ from what was saved")
    return extra

  def set_aside(self) -> epath.Path:
    """Moves the newest step, found damaged, out of the way of the one before; returns its place.

    In a bucket its files are copied and then removed; a process killed meanwhile does so again.
    """
    step = self.latest()
    place = self.folder / f"damaged_{step}"
    if jax.process_index() == 0:
      place.rmtree(missing_ok=True)
      (self.folder / str(step)).rename(place)
    ocp.multihost.sync_global_processes("set_aside")
    self._manager.reload()
    self._good = self.latest()
    return place

  def close(self) -> None:
    """Waits for a save under way. Errors: SaveError."""
    try:
      self.wait()
    finally:
      with contextlib.suppress(Exception):  # wait has told of it
        self._manager.close()

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    with contextlib.suppress(SaveError) if error else contextlib.nullcontext():
      self.close()

  def _before_commit(self) -> None:
    """Writes checksums, in the background, once all data of a save are written.

    Its name comes after.
    """
    if jax.process_index() == 0:
      scratch = list(self.folder.glob(f"{self._saving}.orbax-checkpoint-tmp*"))
      digests.write(scratch[0] if scratch else self.folder / str(self._saving))

  def _failed(self, error: Exception) -> SaveError:
    step, self._saving = self._saving, None
    free = location.free_bytes(self.folder)
    room = "" if free is None else f"{free:,} bytes are free there. "
    return SaveError(
      f"{self.folder / str(step)}: saving failed ({_first_line(error)}). {kept(self._good)} "
      f"{room}Make room or mend the folder; the same command continues."
    )

  def _damaged(self, step: int | None, what: str) -> DamageError:
    return DamageError(f"{self.folder / str(step)}: {what}")


def check_free_bytes(folder: epath.Path, step: int, state, good: int | None) -> None:
  """Checks that the disk can hold one more checkpoint of `state` (this process's part).

  SaveError if it can't.

  OSError if the folder can't be written at all: known now, and not by a thread that then waits. Of
  a bucket neither is asked.
  """
  free = location.free_bytes(folder)
  if free is None:
    return
  with tempfile.TemporaryFile(dir=folder):
    pass
  shards = (s.data.nbytes for x in jax.tree.leaves(state) for s in _own(x))
  need = int(sum(shards) * MARGIN)
  if need > free:
    raise SaveError(
      f"{folder / str(step)}: the disk is full. A checkpoint needs {need:,} bytes, {free:,} are "
      f"free. {kept(good)} Make room (or lower train.keep); the same command continues from there."
    )


def config_of(folder: epath.Path) -> str | None:
  """Reads the config that was saved with the newest step, as text; None where none can be read.

  Only for a look before anything is begun: nothing is verified, see `Checkpoints.extra`.
  """
  for step in reversed(location.steps(folder)):
    with contextlib.suppress(OSError, ValueError):
      return json.loads((folder / str(step) / "extra" / "metadata").read_text()).get("config")
  return None


def kept(good: int | None) -> str:
  """Names the checkpoint that is left, for a message."""
  return (
    "No checkpoint was written before." if good is None else f"The one of step {good} was kept."
  )


def _own(x):
  """Lists the shards of an array that this process writes."""
  return [s for s in x.addressable_shards if s.replica_id == 0]


def _loss(metrics) -> float:
  return metrics["loss"]


def _first_line(error: BaseException) -> str:
  return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]


def _is_damage(error: Exception) -> bool:
  """Tells whether files, not the asked-for shapes, made a restore fail."""
  words = ("DATA_LOSS", "checksum", "CRC", "corrupt", "decod", "decompress", "NOT_FOUND", "missing")
  file = isinstance(error, OSError | json.JSONDecodeError | UnicodeDecodeError)
  return file or any(word.lower() in str(error).lower() for word in words)
