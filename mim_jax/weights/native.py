"""Our own weights file: safetensors with the config inside. No pickle, no code."""

import hashlib
import json
import os
import pathlib

import jax
import numpy as np
import safetensors
import safetensors.numpy

from mim_jax import config as config_lib
from mim_jax import errors

FILE = "weights.safetensors"


def save(path: pathlib.Path, variables: dict, config) -> None:
  """Writes {"params": ..., other collections} and the config as one file, whole or not at all."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(variables))
  flat = {"/".join(str(k.key) for k in keys): np.ascontiguousarray(x) for keys, x in leaves}
  scratch = path.with_suffix(".tmp")
  metadata = {"format": "mim_jax 1", "config": config_lib.to_json(config)}
  safetensors.numpy.save_file(flat, scratch, metadata=metadata)
  scratch.replace(path)


def load(path: str | os.PathLike, sha256: str | None = None) -> tuple[dict, object]:
  """(variables, config) of a weights file or run folder; with `sha256` only if it is that file.

  Errors: InputError if there is none, it is another file than expected, or not one of ours.
  """
  file = pathlib.Path(path)
  file = file / FILE if file.is_dir() else file
  if not file.exists():
    raise errors.InputError(
      f"{path}: there is no {FILE} here. Give the folder of a finished run, or train it first: "
      f"mim-jax train --config=... --workdir={path}."
    )
  found = digest(file)
  if sha256 and found != sha256:
    raise errors.InputError(
      f"{file}: its sha256 is {found}, but {sha256} is expected. It is another run, or it has "
      "changed. Give the right path, or the new hash."
    )
  try:
    with safetensors.safe_open(file, framework="numpy") as opened:
      metadata = opened.metadata() or {}
      arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
  except safetensors.SafetensorError as error:
    raise errors.InputError(f"{file}: not a readable safetensors file ({error}).") from error
  if metadata.get("format") != "mim_jax 1":
    raise errors.InputError(f"{file}: not written by mim_jax (no format in its metadata).")
  return nested(arrays), config_lib.from_json(json.loads(json.dumps(metadata["config"])))


def digest(file: pathlib.Path) -> str:
  """The SHA-256 of a file, in hexadecimal."""
  with file.open("rb") as opened:
    return hashlib.file_digest(opened, "sha256").hexdigest()


def nested(flat: dict) -> dict:
  """{'a/b': x} as {'a': {'b': x}}."""
  tree: dict = {}
  for name, value in flat.items():
    *path, last = name.split("/")
    node = tree
    for key in path:
      node = node.setdefault(key, {})
    node[last] = value
  return tree
