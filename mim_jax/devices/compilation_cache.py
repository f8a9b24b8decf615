"""JAX's persistent compilation cache: what a command has compiled, the next one only loads.

It holds machine code that is run with the user's rights, so the folder must be private.
"""

import os
import pathlib
import stat

import filelock
import jax

from mim_jax.errors import InputError

NAME = "JAX_COMPILATION_CACHE_DIR"
LIMIT = 8 * 2**30  # bytes; what was not used for longest goes first
QUICK = 0.2  # seconds; what compiles faster is not kept


def start() -> pathlib.Path | None:
  """Turns the cache on and returns its folder: `JAX_COMPILATION_CACHE_DIR` or ~/.cache/mim_jax/xla.

  None where JAX has an address with "://", and where no home can be written to. With
  JAX_ENABLE_COMPILATION_CACHE=0 nothing is kept. Errors: see `check`.
  """
  named = os.environ.get(NAME)
  if named and "://" in named:
    return None  # JAX has it already
  path = pathlib.Path(named) if named else default()
  try:
    check(path)
  except OSError:
    if named:
      raise
    return None
  jax.config.update("jax_compilation_cache_dir", str(path))
  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", QUICK)
  if not named:  # in a folder of the user's the limit is the user's, too
    sweep(path)
    if "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ:
      jax.config.update("jax_compilation_cache_max_size", LIMIT)
  return path


def sweep(path: pathlib.Path) -> None:
  """Removes entries that a killed process had not written whole: JAX dates an entry when it is.

  JAX itself never gets over one without a date: from then on it keeps nothing, and warns each time.
  """
  with filelock.FileLock(path / ".lockfile"):  # JAX's own
    for entry in path.glob("*-cache"):
      if not entry.with_name(entry.name.removesuffix("cache") + "atime").exists():
        entry.unlink()


def default() -> pathlib.Path:
  """Finds the default folder of the cache: under XDG_CACHE_HOME, or ~/.cache."""
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "mim_jax" / "xla"


def check(path: pathlib.Path) -> None:
  """Makes the cache folder (mode 700) if it is absent.

  Errors: InputError where somebody else owns it or may write to it.
  """
  path.mkdir(mode=0o700, parents=True, exist_ok=True)
  found = path.stat()
  if found.st_uid != os.geteuid():
    raise InputError(
      f"{path}: this compilation cache ({NAME}) belongs to user {found.st_uid}, not to you. What "
      "it holds is run with your rights: use one of your own."
    )
  if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise InputError(
      f"{path}: others may write to this compilation cache ({NAME}), and what it holds is run "
      f"with your rights. Empty it, then: chmod 700 {path}"
    )
