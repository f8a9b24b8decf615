"""Our own weights file: safetensors with the config and a hash inside. No pickle, no code."""

import hashlib
import os
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax.weights import files, published

FILE, FORMAT = "weights.safetensors", "mim_jax 1"


def save(path: pathlib.Path, variables: dict, config, note: dict[str, str] | None = None) -> None:
  """Writes {"params": ..., other collections} and the config as one file, whole or not at all.

  note: more for the file's metadata, e.g. the licence.
  """
  flat = {name: np.ascontiguousarray(x) for name, x in leaves(jax.device_get(variables))}
  scratch = path.with_suffix(".tmp")
  metadata = (note or {}) | {"format": FORMAT, "config": config_lib.to_json(config)}
  metadata["contents"] = digest(flat, metadata["config"])
  safetensors.numpy.save_file(flat, scratch, metadata=metadata)
  scratch.replace(path)


def digest(arrays: dict[str, np.ndarray], config: str) -> str:
  """Hashes arrays, by name, and their config (sha256): any changed byte of them shows."""
  total = hashlib.sha256(config.encode())
  for name, x in sorted(arrays.items()):
    x = files.wide(x)  # as it is read again
    total.update(f"{name} {x.dtype} {x.shape}".encode())
    total.update(x.tobytes())
  return total.hexdigest()


def load(path: str | os.PathLike, sha256: str | None = None) -> tuple[dict, Any]:
  """Loads (variables, config) of a run, or of published weights: a file or folder.

  Pinned by `sha256`. Errors: InputError if there is none, it is another file than expected,
  damaged, or of no layout known here.
  """
  known = pinned(path)
  check(known, sha256)
  file = pathlib.Path(known["path"])
  arrays, metadata = files.arrays(file)
  if metadata.get("format") != FORMAT:
    with jax.ensure_compile_time_eval():  # it may be called while something is being traced
      return published.read(files.source(file, arrays, {}))
  config = metadata.get("config", "")
  saved = metadata.get("contents")  # files from before 2026-11-28 have none
  if saved and saved != digest(arrays, config):
    raise errors.InputError(
      f"{file}: it is damaged: its arrays and config are not those that were saved. Copy it again, "
      "or give the command of its run again, which writes it anew from the last checkpoint."
    )
  return nested(arrays), config_lib.from_json(config)


def check(known: dict[str, str], sha256: str | None) -> None:
  """Checks that the file that `pinned` found is the expected one. Errors: InputError."""
  if sha256 and known["sha256"] != sha256:
    raise errors.InputError(
      f"{known['path']}: its sha256 is {known['sha256']}, but {sha256} is expected. It is another "
      "run, or it has changed. Give the right path, or the new hash."
    )


def pinned(path: str | os.PathLike) -> dict[str, str]:
  """Pins weights as a config should name them: {"path": weights file, "sha256": its hash}.

  Of weights in several pieces the path is that of their index, and the hash is of all of them.

  Errors: InputError if there is no such file.
  """
  file = files.locate(path)
  return dict(path=str(file), sha256=files.sha256(file))


def from_run(
  params: dict,
  *,
  path: str,
  sha256: str | None = None,
  parts: tuple[str, ...] = ("tokenizer", "encoder"),
) -> dict:
  """Replaces the named parts of `params` by those of a finished run.

  Errors: InputError for a part that one of the two lacks, and for arrays that do not fit, by name.
  """
  there, _ = load(path, sha256)
  for part in parts:
    if part not in params or part not in there["params"]:
      both = sorted(params.keys() & there["params"].keys())
      raise errors.unknown(f"{path}: part", part, both, "Set start_from.parts to some of them.")
    new, old = (
      {name: str(x.shape) for name, x in leaves(tree[part])} for tree in (params, there["params"])
    )
    wrong = sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k))
    if wrong:
      name = wrong[0]
      raise errors.InputError(
        f"{path}: {len(wrong)} arrays of {part!r} do not fit, the first is {name!r}: "
        f"{old.get(name, 'absent')} there, {new.get(name, 'absent')} here. "
        "Use the same size and patch."
      )
  return params | {part: there["params"][part] for part in parts}


def leaves(tree) -> list[tuple[str, np.ndarray]]:
  """Flattens a nested dict to [("a/b", array), ...]."""
  found = jax.tree_util.tree_leaves_with_path(tree)
  return [("/".join(str(k.key) for k in keys), x) for keys, x in found]


def nested(flat: dict) -> dict:
  """Nests {'a/b': x} as {'a': {'b': x}}."""
  tree: dict = {}
  for name, value in flat.items():
    *path, last = name.split("/")
    node = tree
    for key in path:
      node = node.setdefault(key, {})
    node[last] = value
  return tree
