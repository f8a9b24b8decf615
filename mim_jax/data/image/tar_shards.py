"""Tar shards of images (WebDataset's layout) as a Source, read where they lie.

The files of an image have one name up to the first dot: 0017.jpg and, for its label, 0017.cls (a
number as text) or 0017.json (with the key "label"). Nothing is ever extracted.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
import tarfile

import numpy as np

from mim_jax import errors
from mim_jax.data import splits
from mim_jax.data.image import decode, encoded, folders

INDEX = ".mim_jax_index.npz"
_IMAGES = tuple(name for name in decode.EXTENSIONS if name != ".npy")
_LABELS = ("cls", "json")
_MOST_LABEL_BYTES = 1 << 20
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Shards(encoded.Encoded):
  """Reads images inside of tar files.

  Attributes:
    root: the folder of the tar files.
    tars: their names relative to it.
    files: names of the images, each behind that of its tar file.
    place: int64 [n 3], number of the tar file, first byte, bytes.
    label: int32 [n], -1 where there is none.
    classes: names of the labels, their numbers.
    decoder: how a file becomes an array.
  """

  root: str
  tars: tuple[str, ...]
  files: tuple[str, ...]
  place: np.ndarray
  label: np.ndarray
  classes: tuple[str, ...]
  decoder: decode.Decoder

  def fetch(self, indices: np.ndarray) -> tuple[list[bytes | np.ndarray], np.ndarray]:
    return [self._bytes(int(index)) for index in indices], self.label[indices]

  def names(self, indices: np.ndarray) -> list[str]:
    """Names the tar file and the file in it."""
    return [self.files[index] for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes names, places and labels."""
    digest = hashlib.blake2b("\n".join(self.files).encode("utf-8", "surrogateescape"))
    digest.update(self.place.tobytes() + self.label.tobytes())
    return digest.hexdigest()[:16]

  def _bytes(self, index: int) -> bytes:
    tar, start, size = self.place[index].tolist()
    self.decoder.check_bytes(size, self.files[index])
    try:
      with open(os.path.join(self.root, self.tars[tar]), "rb", buffering=0) as file:
        found = os.pread(file.fileno(), size, start)
    except OSError as error:
      raise folders.lost(self.files[index], error) from error
    if len(found) < size:
      raise errors.UnreadableError(
        f"data: {self.files[index]} has lost its end. Restore the tar file."
      )
    return found


def shards(
  *,
  path: str,
  split: str = "train",
  canvas: int = 256,
  channels: int = 3,
  holdout: float = 0.1,
  limits: tuple[int, int] = decode.LIMITS,
) -> Shards:
  """Opens a folder of .tar files with JPEG, PNG or WebP images in WebDataset's layout.

  A file or sub-folder whose name has the word train, and one with test, val or validation, are the
  splits; without them see `folder`. The index is written into the folder the first time, if it can
  be. canvas, channels, limits: see decode.Decoder. InputError where there are no images.
  """
  root = os.path.expanduser(path)
  tars = folders.scan(root, (".tar",), "tar files (.tar, not compressed)")
  index = _indexed(root, tars)
  files = [f"{tars[t]}/{name}" for t, name in zip(index["tar"], index["names"], strict=True)]
  if not files:
    raise errors.InputError(
      f"data.path: the {len(tars)} tar files in {root!r} hold no images ({', '.join(_IMAGES)})."
    )
  found = _by_split(tars, index["tar"], files, holdout)
  name, start, stop = splits.resolve(split, {key: len(value) for key, value in found.items()})
  rows = found[name][splits.draw(len(found[name]), start, stop)]
  place = np.stack([index["tar"], index["start"], index["size"]], 1)[rows]
  classes = tuple(str(i) for i in range(int(index["label"].max()) + 1))
  decoder = decode.Decoder(canvas, channels, limits)
  chosen = tuple(files[row] for row in rows)
  return Shards(root, tuple(tars), chosen, place, index["label"][rows], classes, decoder)


def _by_split(tars: list[str], tar: np.ndarray, files: list[str], holdout: float) -> dict:
  """Groups files by split, {split: which of them}, where file i lies in tar file number tar[i]."""
  parts = [_split_of(name) for name in tars]
  named = [f"{parts[t]}/{file}" for t, file in zip(tar, files, strict=True)]
  groups = folders.group(named if any(parts) else files, holdout)
  number = {file: i for i, file in enumerate(files)}

  def row(first, rest):
    return number[rest] if rest in number else number[f"{first}/{rest}"]

  return {key: np.array([row(*pair) for pair in group], int) for key, group in groups.items()}


def _split_of(tar: str) -> str:
  """Finds the split, train or test, in the words of a tar file's path.

  "" where they say neither.
  """
  words = re.findall("[a-z]+", tar.lower())
  return next(
    (
      split
      for split, known in (("train", ("train",)), ("test", folders.TEST_NAMES))
      if any(word in known for word in words)
    ),
    "",
  )


def _indexed(root: str, tars: list[str]) -> dict:
  """Indexes all images: number of the tar file, name, start, size, label; kept in the folder."""
  stamps = []
  for tar in tars:
    status = os.stat(os.path.join(root, tar))
    stamps.append(f"{tar}\0{status.st_size}\0{status.st_mtime_ns}")
  stamp = hashlib.blake2b("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()
  file = os.path.join(root, INDEX)
  try:
    with np.load(file, allow_pickle=False) as stored:
      if str(stored["stamp"]) == stamp:
        names = stored["names"].tobytes().decode("utf-8", "surrogateescape").split("\n")
        kept = {key: stored[key] for key in ("tar", "start", "size", "label")}
        return dict(kept, names=names if len(kept["tar"]) else [])
  except Exception:  # absent, or damaged: it is made anew
    pass
  rows = [(i, *row) for i, tar in enumerate(tars) for row in _members(os.path.join(root, tar))]
  columns = list(zip(*rows, strict=True)) or [()] * 5
  tar, start, size = (np.array(columns[i], np.int64) for i in (0, 2, 3))
  index: dict = dict(tar=tar, start=start, size=size, label=np.array(columns[4], np.int32))
  names = list(columns[1])
  text = np.frombuffer("\n".join(names).encode("utf-8", "surrogateescape"), np.uint8)
  scratch = f"{file}.{os.getpid()}.npz"
  try:
    np.savez(scratch, stamp=np.array(stamp), names=text, **index)
    os.replace(scratch, file)
  except OSError as error:
    _log.warning("data: no index can be kept in %s (%s); the next start looks again.", root, error)
  return dict(index, names=names)


def _members(path: str) -> list[tuple[str, int, int, int]]:
  """Lists (name, first byte, bytes, label) of the images in a tar file, in their order."""
  images: dict[str, tuple[str, int, int]] = {}
  labels: dict[str, int] = {}
  whole = os.path.getsize(path)
  try:
    with tarfile.open(path, "r:") as tar:
      for member in tar:
        if not member.isreg() or member.offset_data + member.size > whole:
          continue
        key, _, ending = _parted(member.name)
        if f".{ending.lower()}".endswith(_IMAGES):
          images[key] = (member.name, member.offset_data, member.size)
        elif ending.lower() in _LABELS and member.size < _MOST_LABEL_BYTES:
          labels[key] = _label(tar.extractfile(member), f"{path}/{member.name}")
  except tarfile.TarError as error:
    raise errors.InputError(
      f"data: {path} cannot be read as a tar file ({error}). Give it uncompressed and whole."
    ) from error
  return [(*image, labels.get(key, -1)) for key, image in images.items()]


def _parted(name: str) -> tuple[str, str, str]:
  """Parts a member's name at the first dot of its last part: (key, ".", ending)."""
  place, slash, last = name.rpartition("/")
  key, dot, ending = last.partition(".")
  return place + slash + key, dot, ending


def _label(file, name: str) -> int:
  text = file.read()
  try:
    if name.lower().endswith(".cls"):
      return int(text)
    found = json.loads(text)
    return int(found["label"]) if isinstance(found, dict) and "label" in found else -1
  except (ValueError, TypeError) as error:
    raise errors.InputError(
      f"data: {name} holds no label ({error}). Write a whole number from 0 on."
    ) from error
