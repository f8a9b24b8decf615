"""Packed stores of `mim-jax pack`: images decoded and shrunk once, in array_record files.

A folder with manifest.json, <split>-<number>.array_record and <split>-labels.npy. A record is a
header (label, height, width, channels) and the image, as JPEG or as uint8 [h w c].
"""

import dataclasses
import functools
import hashlib
import json
import os
import struct

import numpy as np

from mim_jax import errors
from mim_jax.data import splits
from mim_jax.data.image import decode, encoded

FORMAT = 1
MANIFEST = "manifest.json"
KINDS = ("jpeg", "raw")
HEADER = struct.Struct("<iHHH")


@dataclasses.dataclass(frozen=True, eq=False)
class Packed(encoded.Encoded):
  """Reads images in array_record files.

  Attributes:
    paths: of the files.
    starts: int64 [files + 1], the first record of each, and their number.
    rows: int64 [n], which records are meant.
    kind: "jpeg" or "raw".
    label: int32 [n], -1 where there is none.
    classes: names of the labels.
    decoder: how a record becomes an array.
    fingerprint: short hash of the content.
  """

  paths: tuple[str, ...]
  starts: np.ndarray
  rows: np.ndarray
  kind: str
  label: np.ndarray
  classes: tuple[str, ...]
  decoder: decode.Decoder
  fingerprint: str

  def fetch(self, indices: np.ndarray) -> tuple[list[bytes | np.ndarray], np.ndarray]:
    rows = self.rows[indices]
    number = np.searchsorted(self.starts, rows, side="right") - 1
    found: list = [None] * len(rows)
    for i in np.unique(number):
      here = np.flatnonzero(number == i)
      for place, record in zip(here, self._read(int(i), rows[here] - self.starts[i]), strict=True):
        found[place] = self._stored(record)
    return found, self.label[indices]

  def names(self, indices: np.ndarray) -> list[str]:
    """Names the file and the number in it."""
    rows = self.rows[indices]
    number = np.searchsorted(self.starts, rows, side="right") - 1
    return [f"{self.paths[i]} {row - self.starts[i]}" for i, row in zip(number, rows, strict=True)]

  def _stored(self, record: bytes) -> bytes | np.ndarray:
    if self.kind == "jpeg":
      return record[HEADER.size :]
    try:
      _, *shape = HEADER.unpack_from(record)
      return np.frombuffer(record, np.uint8, offset=HEADER.size).reshape(shape)
    except (struct.error, ValueError) as error:
      raise errors.UnreadableError(f"data: a record of {len(record)} bytes is damaged.") from error

  def _read(self, number: int, rows: np.ndarray) -> list[bytes]:
    path = self.paths[number]
    try:
      return _reader(path).read(rows.tolist())
    except Exception as error:  # array_record has no kinds of its own
      raise errors.UnreadableError(
        f"data: {path} cannot be read ({error}). Restore the file, or pack it anew: delete it and "
        f"{MANIFEST}, and give the command again."
      ) from error


def packed(
  *, path: str, split: str = "train", channels: int = 3, limits: tuple[int, int] = decode.LIMITS
) -> Packed:
  """Opens a split of the store in a folder, as its manifest says.

  channels: as it was packed with. limits: see decode.Decoder. InputError without a whole store.
  """
  root = os.path.expanduser(path)
  told = manifest(root)
  if told["channels"] != channels:
    raise errors.InputError(
      f"data.channels: {root} was packed with {told['channels']} channels, not {channels}. Say "
      f"channels={told['channels']}, or pack it anew."
    )
  counts = {name: entry["images"] for name, entry in told["splits"].items()}
  name, start, stop = splits.resolve(split, counts)
  files = [shard for shard in told["splits"][name]["shards"] if shard["images"]]
  for shard in files:
    _check(os.path.join(root, shard["file"]), shard["bytes"])
  rows = splits.draw(counts[name], start, stop)
  label = np.load(os.path.join(root, f"{name}-labels.npy"), allow_pickle=False)
  digest = hashlib.blake2b("".join(shard["hash"] for shard in files).encode(), digest_size=8)
  digest.update(rows.tobytes())
  return Packed(
    tuple(os.path.join(root, shard["file"]) for shard in files),
    np.cumsum([0, *(shard["images"] for shard in files)]),
    rows,
    told["kind"],
    label[rows],
    tuple(told["classes"]),
    decode.Decoder(told["canvas"], channels, limits),
    digest.hexdigest(),
  )


def manifest(root: str) -> dict:
  """Reads the manifest of the store in a folder; InputError where none can be read."""
  file = os.path.join(root, MANIFEST)
  try:
    with open(file) as opened:
      told = json.load(opened)
  except (OSError, ValueError) as error:
    raise errors.InputError(
      f"data.path: {root!r} holds no packed data set ({MANIFEST}: {error}). Write it with mim-jax "
      "pack; a pack that was interrupted continues when its command is given again."
    ) from error
  if told.get("format") != FORMAT:
    raise errors.InputError(
      f"data.path: {file} has format {told.get('format')!r}, this version reads {FORMAT}. Pack it "
      "anew."
    )
  return told


def _check(path: str, size: int) -> None:
  found = os.path.getsize(path) if os.path.exists(path) else 0
  if found != size:
    raise errors.InputError(
      f"data.path: {path} has {found} bytes, {size} were packed. Restore the file, or delete it "
      f"and {MANIFEST} and give the command of mim-jax pack again."
    )


@functools.lru_cache(maxsize=4096)  # of the process: readers cannot be sent to another one
def _reader(path: str):
  from array_record.python import array_record_module

  return array_record_module.ArrayRecordReader(path, "readahead_buffer_size:0")
