"""Texts cut into chunks of equally many bytes, in memory. Letters: b batch, n chunks, l bytes."""

import functools
import hashlib
import types
from collections.abc import Iterable

import numpy as np

from mim_jax import errors
from mim_jax.data import splits

FILL = -1  # where a chunk has no byte; 0 is a byte
LONGEST = 2**16  # bytes of a chunk


class Chunks:
  """A Source of chunks of bytes, the last chunk of a text shorter than the others.

  Attributes:
    classes: names of the labels, () when unlabelled.
    label: int32 [n], -1 where there is none.
    name: what messages call it.
    fill: what a shorter text ends in where it is joined with longer ones.
  """

  fill = types.MappingProxyType({"text": FILL})

  def __init__(
    self, text: np.ndarray, label: np.ndarray, classes: tuple[str, ...] = (), name: str = "texts"
  ):
    """Takes bytes int16 [n l], FILL behind the end of a text, and labels int [n]."""
    self._text, self.label = text, label.astype(np.int32)
    self.classes, self.name = classes, name

  def __len__(self) -> int:
    """Counts chunks."""
    return len(self._text)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Reads text int16 [b l], FILL where there is no byte, and label int32 [b]."""
    return {"text": self._text[indices], "label": self.label[indices]}

  def names(self, indices: np.ndarray) -> list[str]:
    """Names chunks in messages."""
    return [f"{self.name} chunk {index}" for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the bytes and labels."""
    digest = hashlib.blake2b(digest_size=8)
    for value in (self._text, self.label):
      digest.update(str(value.shape).encode())
      digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def cut(
  texts: Iterable[tuple[bytes, int]], length: int, classes: tuple[str, ...], name: str
) -> Chunks:
  """Cuts (text, label) pairs into chunks of `length` bytes; an empty text has none.

  InputError where `length` is none, or nothing is left to cut.
  """
  if not 1 <= length <= LONGEST:
    raise errors.InputError(
      f"data.length: {length} bytes are no chunk. Give 1 to {LONGEST}, say 128: `length=128`."
    )
  rows, labels = [], []
  for text, label in texts:
    count = -(-len(text) // length)
    row = np.full(count * length, FILL, np.int16)
    row[: len(text)] = np.frombuffer(text, np.uint8)
    rows.append(row.reshape(count, length))
    labels.append(np.full(count, label))
  if not sum(map(len, rows)):
    raise errors.InputError(f"{name}: there is no text in it. Give files that hold some.")
  return Chunks(np.concatenate(rows), np.concatenate(labels), classes, name)


def chosen(parts: dict[str, list[tuple[bytes, int]]], split: str, length: int, classes, name: str):
  """Cuts the texts of `split`, one of `parts` or a range of one, like "train[:10%]"."""
  whole = {
    key: cut(texts, length, classes, name) for key, texts in parts.items() if any_text(texts)
  }
  which, start, stop = splits.resolve(split, {key: len(value) for key, value in whole.items()})
  rows = splits.draw(len(whole[which]), start, stop)
  batch = whole[which][rows]
  return Chunks(batch["text"], batch["label"], classes, f"{name} {which}")


def any_text(texts: list[tuple[bytes, int]]) -> bool:
  """Says whether any of (text, label) pairs holds a byte."""
  return any(text for text, _ in texts)


def divided(text: bytes, fraction: float, end: bytes = b"\n") -> tuple[bytes, bytes]:
  """Divides a text into its start and its last `fraction`, or somewhat less of it.

  It is cut behind the next `end` (of a line, say) in the first half of that fraction, if there is
  one.
  """
  place = round(len(text) * (1 - fraction))
  found = text.find(end, place, place + (len(text) - place) // 2)
  place = place if found < 0 else found + len(end)
  return text[:place], text[place:]
