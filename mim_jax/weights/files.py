"""Files of published weights, read without torch and without pickle unless that is asked for."""

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

FILES = ("weights.safetensors", "model.safetensors")
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
  """The weights file at `path`, a file or a folder; InputError if there is none."""
  given = pathlib.Path(path)
  if not given.is_dir():
    if not given.is_file():
      raise errors.InputError(f"{path}: there is no such file.")
    return given
  for name in FILES:
    if (given / name).is_file():
      return given / name
  if (given / "model.safetensors.index.json").exists():
    raise errors.InputError(
      f"{path}: these weights are in several pieces, which is not read here. Join them first: load "
      "and save them with transformers and max_shard_size='100GB'."
    )
  raise errors.InputError(
    f"{path}: there is no {' and no '.join(FILES)} here. Give the folder of a finished run or of "
    f"published weights; or train first: mim-jax train --config=... --workdir={path}."
  )


def arrays(file: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """(arrays, metadata) of a safetensors file; half precision becomes float32.

  InputError where it is none.
  """
  try:
    with safetensors.safe_open(file, framework="numpy") as opened:
      found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
      metadata = opened.metadata() or {}
  except safetensors.SafetensorError as error:
    hint = "" if file.suffix not in PICKLED else " It looks like a pickle: see --allow-pickle."
    raise errors.InputError(f"{file}: not a readable safetensors file ({error}).{hint}") from error
  wide = {k: x.astype(np.float32) if x.dtype.itemsize == 2 else x for k, x in found.items()}
  return wide, metadata


def unpickled(file: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of a .pth file, which torch opens in a process of its own, with weights_only.

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
  """The Source of these arrays, with what lies beside the file."""
  return base.Source(found, _json(file.parent / CONFIG), _json(file.parent / PREPROCESSOR), options)


def licence(file: pathlib.Path) -> str | None:
  """The licence that the model card beside the file states, None without one."""
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
