"""Checksums of a checkpoint's arrays and of its files, which any changed byte changes."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import lax

from mim_jax.optim import rules

FILE = "digests.json"
# Orbax writes these after the digests, and nothing of what is restored stands in them.
_AFTERWARDS = ("_CHECKPOINT_METADATA", "commit_success.txt")
_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def of_arrays(state) -> dict[str, int]:
  """Computes a number in [0, 2**32) for every array, by name, however the array is sharded.

  It is made on the devices, by all processes together, and only the numbers are fetched.
  """
  leaves = rules.named_leaves(state)
  sums = jax.device_get(_sums([x for _, x in leaves]))
  return {name: int(number) for (name, _), number in zip(leaves, sums, strict=True)}


@jax.jit
def _sums(leaves):
  return [_sum(leaf) for leaf in leaves]


def _sum(x):
  """Sums bits x weight modulo 2**32. Weights are odd: a change of one element always shows."""
  x = x.astype(np.uint8) if x.dtype == bool else x
  bits = lax.bitcast_convert_type(x, _WORDS[x.dtype.itemsize]).astype(np.uint32)
  index = jnp.zeros(x.shape, np.uint32)
  for axis, size in enumerate(x.shape):
    index = index * np.uint32(size) + lax.broadcasted_iota(np.uint32, x.shape, axis)
  mixed = index * np.uint32(2654435761)  # Knuth's multiplicative hashing
  weight = (mixed ^ (mixed >> np.uint32(15))) | np.uint32(1)
  return jnp.sum(bits * weight, dtype=np.uint32)


def crc_of_arrays(state) -> dict[str, int]:
  """Computes the CRC-32 of every array that this process holds whole: what format 1 wrote."""
  named: list[tuple[str, Any]] = rules.named_leaves(state)
  leaves = [(name, x) for name, x in named if x.is_fully_addressable]
  arrays = jax.device_get([x for _, x in leaves])
  return {
    name: zlib.crc32(np.ascontiguousarray(array).tobytes())
    for (name, _), array in zip(leaves, arrays, strict=True)
  }


def of_json(value) -> int:
  """Computes the CRC-32 of JSON data, whatever the order of its keys."""
  return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def write(folder: epath.Path) -> None:
  """Writes the CRC-32 of every file of a checkpoint into it; all are read once for that."""
  files = {
    path.relative_to(folder).as_posix(): _crc(path)
    for path in sorted(_files(folder))
    if path.name not in _AFTERWARDS
  }
  (folder / FILE).write_text(json.dumps(dict(files=files, own=of_json(files))))


def damaged(folder: epath.Path) -> list[str]:
  """Lists what is wrong with a checkpoint's files, a clause each; [] also where none are known."""
  if not (folder / FILE).exists():
    return []
  try:
    noted = json.loads((folder / FILE).read_text())
    files = noted["files"]
    whole = noted["own"] == of_json(files)
  except (ValueError, KeyError, TypeError):
    whole = False
  if not whole:
    return [f"the file {FILE} is damaged"]
  found = []
  for name, crc in files.items():
    path = folder / name
    if not path.exists():
      found.append(f"the file {name} is missing")
    elif _crc(path) != crc:
      found.append(f"the file {name} is damaged (its bytes are not those that were saved)")
  return found


def _files(folder: epath.Path) -> Iterator[epath.Path]:
  for path in folder.iterdir():
    yield from _files(path) if path.is_dir() else [path]


def _crc(path: epath.Path) -> int:
  crc = 0
  with path.open("rb") as file:
    while piece := file.read(1 << 22):
      crc = zlib.crc32(piece, crc)
  return crc
