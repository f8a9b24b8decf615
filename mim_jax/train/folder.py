"""The run folder: made, locked against a second run, held to the config it was begun with."""

import contextlib
import datetime
import functools
import os
import pathlib
import re
import socket

import filelock
import jax
import ml_collections

from mim_jax import config as config_lib
from mim_jax.checkpoint import location, store
from mim_jax.errors import InputError

# Keys that a resumed run may give new values: they change how a run is watched, placed or how long
# it continues, not what it has learnt so far.
MAY_CHANGE = (
  "evaluations.",
  "pictures.",
  "train.checkpoint_every",
  "train.checkpoints",
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
  """Makes and locks a run folder for this run alone, and writes config.json; yields its path.

  Of several processes the first does so for all; the others may have another directory there, but
  see the same place of checkpoints. Errors: InputError if either can't be written, if the folder is
  in use (a bucket can't be locked), or was begun with another config.
  """
  path = pathlib.Path(workdir)
  if re.match(r"[a-z0-9]+://|[a-z0-9]+:/", str(workdir)):
    raise InputError(
      f"--workdir: {workdir} is an address, and a run folder is a directory. Give a directory, and "
      "for checkpoints --config.train.checkpoints=gs://BUCKET/FOLDER, or mount the bucket; "
      "experiments/launch/README.md says how."
    )
  with contextlib.ExitStack() as stack:
    first = jax.process_index() == 0
    held = _held(path) if first else contextlib.nullcontext()
    location.on_all_processes(path, lambda: stack.enter_context(held))
    location.check(location.checkpoint_dir(path, config))
    location.on_all_processes(path, lambda: hold_config(path, config) if first else None)
    yield path


@contextlib.contextmanager
def _held(path: pathlib.Path):
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
    yield
  finally:
    (path / ".owner").unlink(missing_ok=True)
    lock.release()


def hold_config(path: pathlib.Path, config) -> None:
  """Writes config.json, or refuses if training has begun there with other fixed keys.

  What it has begun with says config.json, and, as the run folder may be lost, the checkpoint.
  """
  file = path / "config.json"
  before = config_lib.from_json(config_lib.to_json(config))
  before = read_config(path) if file.exists() else before
  now, then = location.checkpoint_dir(path, config), location.checkpoint_dir(path, before)
  begun = location.steps(now)
  if not begun and location.steps(then):
    raise InputError(
      f"{path}: the checkpoints of this run are in {then}, and there are none in {now}. Copy them "
      f"there, give --config.train.checkpoints={before.train.get('checkpoints', '')!r} as before, "
      "or choose another --workdir."
    )
  if begun:
    check_same(path, before, config)
    if saved := store.config_of(now):
      check_same(now, config_lib.from_json(saved), config)
  scratch = file.with_suffix(".tmp")
  scratch.write_text(config_lib.to_json(config))
  scratch.replace(file)


def check_same(path, before, config) -> None:
  """Checks that fixed keys of two configs are equal. Errors: InputError with all differences."""
  old, new = (config_lib.flatten(completed(config_lib.to_json(c))) for c in (before, config))
  changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
  fixed = [k for k in changed if not k.startswith(MAY_CHANGE)]
  if fixed:
    shown = "\n".join(
      f"  {k}: {old.get(k, '(absent)')!r} there, {new.get(k, '(absent)')!r} now" for k in fixed
    )
    raise InputError(
      f"{path}: this run was begun with another config. These keys differ:\n{shown}\n"
      f"Only keys that begin with {', '.join(MAY_CHANGE)} may change. "
      "Give the old values, or choose another --workdir."
    )


def completed(text: str):
  """Reads a config with every setting of its nodes, also those that are newer than its file.

  A setting that did not exist then has its default: that is what the file meant.
  """
  config = config_lib.from_json(text)
  allow = tuple(config.get("allow_modules", ()))

  def fill(value):
    if not isinstance(value, ml_collections.ConfigDict):
      return value
    value = ml_collections.ConfigDict({k: fill(v) for k, v in value.items()})
    if not config_lib.is_node(value):
      return value
    try:
      made = config_lib.build(value, allow)
    except InputError:  # what can't be built is compared as it is written
      return value
    thing = made.func if isinstance(made, functools.partial) else type(made)
    return config_lib.part(thing, **{k: v for k, v in value.items() if k != config_lib.KEY})

  return config_lib.from_json(config_lib.to_json(fill(config)))


def read_config(workdir: str | os.PathLike):
  """Reads the config of a run folder, from its config.json alone."""
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
