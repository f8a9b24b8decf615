"""Text files of a user's own, as chunks of bytes."""

import os

from mim_jax import errors
from mim_jax.data import splits
from mim_jax.data.image import folders
from mim_jax.data.text import chunks

EXTENSIONS = (".txt",)
LIMIT = 2**28  # bytes of all files together: they are held in memory, two bytes each


def text_files(
  *,
  path: str,
  split: str = "train",
  length: int = 128,
  holdout: float = 0.1,
  limit: int = LIMIT,
) -> chunks.Chunks:
  """Reads chunks of `length` bytes of the .txt files in a folder, or of one file.

  Sub-folders `train` and `test` (or `val`, `validation`) are the splits; without them the last
  `holdout` of each file is "test". "all" is both. The sub-folders of a split are the classes;
  without any, texts are unlabelled. Files are read as bytes, whatever their encoding.

  limit: bytes of all files together. InputError where there is no text, or too much of it.
  """
  splits.check_fraction(holdout)
  root = os.path.expanduser(path)
  if os.path.isfile(root):
    root, name = os.path.split(root)
    names = [name]
  else:
    names = folders.scan(root, EXTENSIONS, "text files")
  _check_size(root, names, path, limit)
  groups = folders.group(names, 0.0)  # without sub-folders of splits nothing is in "test" yet
  classes = sorted({_class(key) for key in groups["all"]} - {""})
  numbers = {"": -1} | {name: number for number, name in enumerate(classes)}
  texts = {
    part: [(_read(root, key), numbers[_class(key)]) for key in keys]
    for part, keys in groups.items()
  }
  if not texts["test"]:
    ends = [(*chunks.divided(text, holdout), label) for text, label in texts["train"]]
    texts = {"train": [(start, label) for start, _, label in ends], "all": texts["train"]}
    texts["test"] = [(end, label) for _, end, label in ends]
  if not chunks.any_text(texts["all"]):
    raise errors.InputError(f"data.path: {path!r} holds no text: its files are empty. Fill them.")
  return chunks.chosen(texts, split, length, tuple(classes), path)


def _class(key: tuple[str, str]) -> str:
  return key[1].rpartition("/")[0].partition("/")[0]


def _check_size(root: str, names: list[str], path: str, limit: int) -> None:
  """InputError where the files are larger than `limit` bytes together."""
  try:
    size = sum(os.path.getsize(os.path.join(root, name)) for name in names)
  except OSError as error:
    raise folders.lost(path, error) from error
  if size > limit:
    raise errors.InputError(
      f"data.path: the files of {path!r} have {size:,} bytes; at most {limit:,} are read into "
      "memory (data.train.limit). Name a smaller folder, or raise that setting."
    )


def _read(root: str, key: tuple[str, str]) -> bytes:
  name = os.path.join(root, *filter(None, key))
  try:
    with open(name, "rb") as file:
      return file.read()
  except OSError as error:
    raise folders.lost(name, error) from error
