"""Files of published weights, read without torch and without pickle unless that is asked for."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import safetensors

from mim_jax import errors
from mim_jax.weights.layouts import base

OPEN_CLIP, OPEN_CLIP_CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
FILES = ("weights.safetensors", "model.safetensors", "model.safetensors.index.json", OPEN_CLIP)
INDEX = ".safetensors.index.json"  # of weights in several pieces, as transformers writes it
_PIECE = re.compile(r"[\w.-]+\.safetensors")  # no folder in it
PICKLED = (".pth", ".pt", ".bin", ".tar", ".ckpt")
CONFIG, PREPROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
# Runs in a process of its own. weights_only refuses everything but arrays and plain containers; the
# one class allowed beside them holds the settings of the published training scripts.
_UNPICKLE = """
import argparse, sys
import torch
from safetensors.torch import save_file
torch.serialization.add_safe_globals([argparse.Namespace])
found = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
flat = {}
def walk(prefix, node):
  for key, value in node.items():
    if isinstance(value, torch.Tensor):
      flat[prefix + str(key)] = value.contiguous().clone()
    elif isinstance(value, dict) and str(key) not in ("optimizer", "opt", "scaler"):
      walk(prefix + str(key) + ".", value)
walk("", found)
save_file(flat, sys.argv[2])
"""


def locate(path: str | os.PathLike) -> pathlib.Path:
  """Locates the weights file at `path`, a file or a folder, or the index of its pieces.

  InputError if there is none.
  """
  given = pathlib.Path(path)
  if not given.is_dir():
    if not given.is_file():
      beside = [p.name for p in given.parent.iterdir()] if given.parent.is_dir() else []
      raise errors.InputError(
        f"{path}: there is no such file{errors.nearest(given.name, beside)} Give the folder of a "
        "finished run, or published weights: a file, or the folder that they lie in."
      )
    return given
  for name in FILES:
    if (given / name).is_file():
      return given / name
  raise errors.InputError(
    f"{path}: there is no {' and no '.join(FILES)} here. Give the folder of a finished run or of "
    f"published weights; or train first: mim-jax train --config=... --workdir={path}."
  )


def pieces(file: pathlib.Path) -> dict[pathlib.Path, set[str]]:
  """Reads the files that an index names, and the arrays it says each has; {} of any other file.

  InputError for an index that is none, that names a file elsewhere, or one that is not there.
  """
  if not file.name.endswith(INDEX):
    return {}
  named = _json(file).get("weight_map")
  if not (named and isinstance(named, dict) and all(isinstance(x, str) for x in named.values())):
    raise errors.InputError(
      f'{file}: not an index of weights, which has {{"weight_map": {{array: file}}}}. Fetch it '
      "anew."
    )
  found: dict[pathlib.Path, set[str]] = {}
  for array, name in sorted(named.items(), key=lambda item: item[::-1]):
    if not _PIECE.fullmatch(name):
      raise errors.InputError(
        f"{file}: {name!r}, said to have {array!r}, is not the name of a safetensors file beside "
        "the index; files elsewhere are not opened. Take the index that came with the weights."
      )
    found.setdefault(file.parent / name, set()).add(array)
  for piece, held in found.items():
    if not piece.is_file():
      raise errors.InputError(
        f"{piece}: there is no such file, but the index says that it has {len(held)} arrays, the "
        f"first is {min(held)!r}. Fetch the missing file."
      )
  return found


def sha256(file: pathlib.Path) -> str:
  """Hashes a weights file; of an index, it and its pieces one after the other."""
  total = hashlib.sha256()
  for one in (file, *pieces(file)):
    with one.open("rb") as opened:
      while block := opened.read(1 << 20):
        total.update(block)
  return total.hexdigest()


def arrays(file: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads (arrays, metadata) of a safetensors file, or of the pieces of an index.

  An index has no metadata. Half precision becomes float32. InputError where it is none, or a piece
  has other arrays than the index says.
  """
  split = pieces(file)
  return (_joined(file, split), {}) if split else _opened(file)


def _joined(index: pathlib.Path, split: dict[pathlib.Path, set[str]]) -> dict[str, np.ndarray]:
  joined: dict[str, np.ndarray] = {}
  for piece, held in split.items():
    found, _ = _opened(piece)
    lacking, more = held - found.keys(), found.keys() - held
    if lacking or more:
      name, near = min(lacking or more), more if lacking else ()
      raise errors.InputError(
        f"{piece}: it {'lacks' if lacking else 'has'} {name!r}, unlike {index.name} says"
        f"{errors.nearest(name, near)} The files are not of one set: fetch them again."
      )
    joined |= found
  return joined


def _opened(file: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  try:
    with safetensors.safe_open(file, framework="numpy") as opened:
      found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
      metadata = opened.metadata() or {}
  except safetensors.SafetensorError as error:
    hint = "" if file.suffix not in PICKLED else " It looks like a pickle: see --allow-pickle."
    raise errors.InputError(f"{file}: not a readable safetensors file ({error}).{hint}") from error
  return {name: wide(x) for name, x in found.items()}, metadata


def wide(x: np.ndarray) -> np.ndarray:
  """Converts half precision to float32; all else is unchanged."""
  return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def unpickled(file: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the arrays of a .pth file, which torch opens in a process of its own, with weights_only.

  InputError where torch refuses or is not installed.
  """
  with tempfile.TemporaryDirectory() as scratch:
    out = pathlib.Path(scratch) / "arrays.safetensors"
    command = [sys.executable, "-I", "-c", _UNPICKLE, str(file.resolve()), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
      last = (done.stderr.strip().splitlines() or ["no message"])[-1]
      raise errors.InputError(
        f"{file}: torch did not open it with weights_only ({last}). Needed: the parity extra (pip "
        "install torch safetensors), and a file of arrays alone."
      )
    return arrays(out)[0]


def source(file: pathlib.Path, found: dict[str, np.ndarray], options: dict) -> base.Source:
  """Makes the Source of these arrays, with what lies beside the file."""
  if file.name.startswith("open_clip"):  # config.json there is of other files in the folder
    return base.Source(found, _json(file.parent / OPEN_CLIP_CONFIG), {}, options)
  return base.Source(found, _json(file.parent / CONFIG), _json(file.parent / PREPROCESSOR), options)


def licence(file: pathlib.Path) -> str | None:
  """Reads the licence that the model card beside the file states; None without one."""
  card = file.parent / CARD
  text = card.read_text(errors="replace")[:20_000] if card.is_file() else ""
  head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
  stated = head and re.search(r"^license(?:_name)?:\s*(\S.*)$", head.group(1), re.MULTILINE)
  return stated.group(1).strip().strip("'\"") if stated else None


def _json(file: pathlib.Path) -> dict:
  if not file.is_file():
    return {}
  try:
    found = json.loads(file.read_text())
  except ValueError as error:
    raise errors.InputError(f"{file}: not readable as JSON ({error}).") from error
  return found if isinstance(found, dict) else {}
