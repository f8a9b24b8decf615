"""Folders of images as a Source."""

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator

import numpy as np

from mim_jax import errors
from mim_jax.data import splits
from mim_jax.data.image import decode, encoded

TEST_NAMES = ("test", "val", "validation")


@dataclasses.dataclass(frozen=True, eq=False)
class Folder(encoded.Encoded):
  """Reads images in files, when they are asked for.

  Attributes:
    root: the folder.
    files: names relative to it, with forward slashes.
    label: int32 [n], -1 where there is none.
    classes: names of the labels.
    decoder: how a file becomes an array.
  """

  root: str
  files: tuple[str, ...]
  label: np.ndarray
  classes: tuple[str, ...]
  decoder: decode.Decoder

  def fetch(self, indices: np.ndarray) -> tuple[list[bytes | np.ndarray], np.ndarray]:
    paths = [os.path.join(self.root, self.files[index]) for index in indices]
    return [load(path, self.decoder) for path in paths], self.label[indices]

  def names(self, indices: np.ndarray) -> list[str]:
    """Lists the files' relative names."""
    return [self.files[index] for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the names, file sizes and labels."""
    digest = hashlib.blake2b(digest_size=8)
    for name, label in zip(self.files, self.label, strict=True):
      path = os.path.join(self.root, name)
      try:
        size = os.path.getsize(path)
      except OSError:
        size = -1  # a lost file is passed over when it is read
      digest.update(f"{name}\0{size}\0{label}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def folder(
  *,
  path: str,
  split: str = "train",
  canvas: int = 256,
  channels: int = 3,
  holdout: float = 0.1,
  limits: tuple[int, int] = decode.LIMITS,
) -> Folder:
  """Opens a folder of JPEG, PNG, WebP or .npy (uint8 [h w c]) images of any size.

  Sub-folders `train` and `test` (or `val`, `validation`) are the splits; without them a file goes
  to test with probability `holdout`, by a hash of its name. "all" is both. The sub-folders of a
  split are the classes; without any, images are unlabelled. Hidden files are passed over.

  canvas, channels, limits: see decode.Decoder. InputError where there are no images.
  """
  root = os.path.expanduser(path)
  decoder = decode.Decoder(canvas, channels, limits)
  files, label, classes = divide(scan(root, decode.EXTENSIONS, "images"), split, holdout)
  return Folder(root, files, label, classes, decoder)


def divide(
  names: list[str], split: str, holdout: float
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
  """Divides all `names` by the rules of `folder`: (names of the split, int32 labels, classes)."""
  groups = group(names, holdout)
  name, start, stop = splits.resolve(split, {key: len(value) for key, value in groups.items()})
  # label names come from all splits, so that the same class has the same number in each
  classes = sorted({_class(key) for key in groups["all"]} - {""})
  numbers = {"": -1} | {key: number for number, key in enumerate(classes)}
  chosen = [groups[name][index] for index in splits.draw(len(groups[name]), start, stop)]
  label = np.array([numbers[_class(key)] for key in chosen], np.int32)
  return tuple("/".join(part for part in key if part) for key in chosen), label, tuple(classes)


def load(path: str, decoder: decode.Decoder) -> bytes | np.ndarray:
  """Loads the bytes of an image file, or the array in a .npy file.

  UnreadableError without either.
  """
  try:
    if path.lower().endswith(".npy"):
      return decoder.array(path)
    with open(path, "rb") as file:
      decoder.check_bytes(os.fstat(file.fileno()).st_size, path)
      return file.read()
  except OSError as error:
    raise lost(path, error) from error


def read(path: str, decoder: decode.Decoder) -> np.ndarray:
  """Reads an image file, uint8 [h w c]; UnreadableError where it cannot be opened or decoded."""
  found = load(path, decoder)
  return decoder.picture(found, path) if isinstance(found, bytes) else found


def _class(key: tuple[str, str]) -> str:
  return key[1].rpartition("/")[0].partition("/")[0]


def scan(root: str, extensions: tuple[str, ...], what: str) -> list[str]:
  """Lists relative names of all files under `root` that end so, sorted; InputError without any.

  what: in words, for messages.
  """
  if not os.path.isdir(root):
    parent, name = os.path.split(os.path.abspath(root))
    near = errors.nearest(name, os.listdir(parent)) if os.path.isdir(parent) else ""
    raise errors.InputError(
      f"data.path: there is no folder {root!r}{near or '.'} Name a folder of {what}."
    )
  files, others = [], collections.Counter()
  for name in _walk(root):
    extension = os.path.splitext(name)[1].lower()
    if extension in extensions:
      files.append(name)
    else:
      others[extension or "without extension"] += 1
  if not files:
    found = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5)) or "no files"
    raise errors.InputError(
      f"data.path: {root!r} holds no {what}. Looked for {', '.join(extensions)}; "
      f"found {found}. Name a folder of {what}, or convert them."
    )
  return sorted(files)


def _walk(root: str, inside: str = "", above: frozenset[str] = frozenset()) -> Iterator[str]:
  """Lists relative names of the files below root/inside, with links that don't lead back up."""
  place = os.path.join(root, inside)
  real = os.path.realpath(place)
  if real in above:
    return
  try:
    entries = list(os.scandir(place))
  except OSError as error:
    raise lost(place, error) from error
  for entry in entries:
    name = f"{inside}/{entry.name}" if inside else entry.name
    if entry.name.startswith("."):
      continue
    if entry.is_dir():
      yield from _walk(root, name, above | {real})
    else:
      yield name


def group(files: list[str], holdout: float) -> dict[str, list[tuple[str, str]]]:
  """Groups each split's files as (sub-folder of the split or "", name below it)."""
  top = {file.partition("/")[0] for file in files if "/" in file}
  tests = [name for name in TEST_NAMES if name in top]
  if "train" in top and tests:
    keys = [(first, rest) for first, _, rest in (file.partition("/") for file in files)]
    groups = {name: [key for key in keys if key[0] == name] for name in ("train", *tests)}
    every = [key for group in groups.values() for key in group]
    return {"test": groups[tests[0]], "all": every, **groups}
  prefix = "train" if top == {"train"} and all("/" in file for file in files) else ""
  keys = [(prefix, file.removeprefix(f"{prefix}/")) for file in files]
  test = _held_out([rest for _, rest in keys], holdout)
  groups = {"train": [], "test": [], "all": keys}
  for key, held in zip(keys, test, strict=True):
    groups["test" if held else "train"].append(key)
  return groups


def _held_out(names: list[str], holdout: float) -> np.ndarray:
  """Selects the names for testing, bool [n]: by their hash, so that a new file moves no old one."""
  splits.check_fraction(holdout)
  hashes = [hashlib.blake2b(n.encode("utf-8", "surrogateescape"), digest_size=8) for n in names]
  draws = np.array([int.from_bytes(h.digest(), "big") / 2**64 for h in hashes])
  test = draws < holdout
  if holdout and not test.any() and len(names) > 1:
    test[draws.argmin()] = True  # a small folder still has something to test on
  return test


def lost(path: str, error: OSError) -> errors.UnreadableError:
  """Makes the error for a file or folder that cannot be opened."""
  return errors.UnreadableError(f"data: {path} cannot be opened ({error}). Restore or remove it.")
