"""The run folder: made, locked against a second run, held to the config it was begun with."""

import contextlib
import datetime
import os
import pathlib
import re
import socket

import filelock
import jax

from mim_jax import config as config_lib
from mim_jax.errors import InputError
from mim_jax.train import mesh

# Keys that a resumed run may give new values: they change how a run is watched, placed or how long
# it goes on, not what it has learnt so far.
MAY_CHANGE = (
  "evaluations.",
  "pictures.",
  "train.checkpoint_every",
  "train.epochs",
  "train.keep",
  "train.log_every",
  "train.mesh.",
  "train.on_damage",
  "train.on_non_finite",
  "train.probe",
  "train.sharding",
  "train.skip_rate",
  "train.steps",
  "train.tensorboard",
  "train.threads",
  "train.wandb",
  "train.watchdog",
  "train.workers",
)


@contextlib.contextmanager
def opened(workdir: str | os.PathLike, config):
  """A run folder ready to be written by this run alone, as a path; config.json is written.

  Of several processes the first does so for all. Errors: InputError if it can't be written, is in
  use, or was begun with another config.
  """
  path = pathlib.Path(workdir)
  if re.match(r"[a-z0-9]+://|[a-z0-9]+:/", str(workdir)):
    raise InputError(
      f"--workdir: {workdir} is an address, and a run folder is a directory. Mount the bucket "
      "(gcsfuse, s3fs) and give the directory; experiments/launch/README.md shows how."
    )
  with contextlib.ExitStack() as stack:
    trouble: Exception | None = None
    if jax.process_index() == 0:
      try:
        stack.enter_context(_held(path, config))
      except Exception as error:
        trouble = error
    if mesh.agreed(trouble is not None):
      raise trouble or InputError(f"{path}: process 0 can't use this run folder; it says why.")
    yield path


@contextlib.contextmanager
def _held(path: pathlib.Path, config):
  try:
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / ".lock", timeout=0)
    lock.acquire()
  except filelock.Timeout as error:
    owner = _read(path / ".owner") or "another process"
    raise InputError(
      f"{path}: this run folder is in use by {owner}. Wait for it, stop it, or choose another "
      "--workdir."
    ) from error
  except OSError as error:
    raise InputError(
      f"{path}: the run folder can't be written ({error.strerror or error}). Choose a --workdir "
      "that you may write."
    ) from error
  try:
    (path / ".owner").write_text(_myself())
    hold_config(path, config)
    yield
  finally:
    (path / ".owner").unlink(missing_ok=True)
    lock.release()


def hold_config(path: pathlib.Path, config) -> None:
  """Writes config.json, or refuses if training has begun there with other fixed keys."""
  file = path / "config.json"
  begun = any(step.name.isdigit() for step in path.glob("checkpoints/*"))
  if begun and file.exists():
    old = config_lib.flatten(read_config(path))
    new = config_lib.flatten(config_lib.from_json(config_lib.to_json(config)))
    changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    fixed = [k for k in changed if not k.startswith(MAY_CHANGE)]
    if fixed:
      shown = "\n".join(
        f"  {k}: {old.get(k, '(absent)')!r} there, {new.get(k, '(absent)')!r} now" for k in fixed
      )
      raise InputError(
        f"{path}: this run folder was begun with another config. These keys differ:\n{shown}\n"
        f"Only keys that begin with {', '.join(MAY_CHANGE)} may change. "
        "Give the old values, or choose another --workdir."
      )
  scratch = file.with_suffix(".tmp")
  scratch.write_text(config_lib.to_json(config))
  scratch.replace(file)


def read_config(workdir: str | os.PathLike):
  """The config of a run folder, from its config.json alone."""
  file = pathlib.Path(workdir) / "config.json"
  if not file.exists():
    raise InputError(
      f"{workdir}: there is no config.json here, so this is not a run folder. Check --workdir."
    )
  return config_lib.from_json(file.read_text())


def _myself() -> str:
  now = datetime.datetime.now().isoformat(" ", "seconds")
  return f"process {os.getpid()} on {socket.gethostname()}, started {now}"


def _read(path: pathlib.Path) -> str:
  return path.read_text() if path.exists() else ""
