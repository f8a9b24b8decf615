"""JAX's compilation cache holds machine code that is loaded and run: it must be private."""

import os
import pathlib
import stat

from mim_jax.errors import InputError


def check(folder: str | None) -> None:
  """Makes the cache `folder` (mode 700) if it is absent; None for none.

  Errors: InputError where somebody else owns it or may write to it.
  """
  if not folder or "://" in folder:
    return
  path = pathlib.Path(folder)
  path.mkdir(mode=0o700, parents=True, exist_ok=True)
  found = path.stat()
  if found.st_uid != os.geteuid():
    raise InputError(
      f"{path}: this compilation cache (JAX_COMPILATION_CACHE_DIR) belongs to user "
      f"{found.st_uid}, not to you. What it holds is run with your rights: use one of your own."
    )
  if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise InputError(
      f"{path}: others may write to this compilation cache (JAX_COMPILATION_CACHE_DIR), and what "
      f"it holds is run with your rights. Empty it, then: chmod 700 {path}"
    )
