"""Sources of images: digits, arrays, folders of images, tar shards, packed stores, TFDS sets.

Each is a config node: a function with settings only, which returns a Source.
"""

import functools
import hashlib
import os
import re
from typing import Protocol, runtime_checkable

import numpy as np

from mim_jax import errors
from mim_jax.data import splits
from mim_jax.data.image.folders import folder as folder
from mim_jax.data.image.packed_store import packed as packed
from mim_jax.data.image.tar_shards import shards as shards
from mim_jax.data.image.tfds_records import tfds as tfds

_IMAGES = re.compile(r"(?:(\w+)_)?images?")


@runtime_checkable
class Source(Protocol):
  """Gives random access to images, a batch at a time; any object that has these is a Source.

  Attributes:
    classes: names of the labels, () when unlabelled.
    fingerprint: short hash of the content; it differs when the data has changed.

  Those whose labels are known without reading images also have `label`, int32 [n]; see sample_order
  for what else a source may have.
  """

  classes: tuple[str, ...]
  fingerprint: str

  def __len__(self) -> int:
    """Counts the images."""

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Reads the batch at integer indices [b], of the same H W c each time.

    image: uint8 [b H W c]; an image smaller than H W lies top-left.
    size: int32 [b 2], height and width of each image inside H W.
    label: int32 [b], -1 where there is none.
    """

  def names(self, indices: np.ndarray) -> list[str]:
    """Names these images for messages."""


class Arrays:
  """Holds images in memory: a Source.

  Attributes:
    label: int32 [n], -1 where there is none.
    name: what messages call it.
  """

  def __init__(
    self,
    image: np.ndarray,
    label: np.ndarray | None = None,
    classes: tuple[str, ...] = (),
    *,
    size: np.ndarray | None = None,
    name: str = "arrays",
  ):
    """Takes images uint8 [n h w] or [n h w c], labels int [n], sizes int [n 2].

    classes: names of the labels; their numbers where none are given. name: for messages. InputError
    when the arrays disagree.
    """
    image = image[..., None] if image.ndim == 3 else image
    if image.ndim != 4 or image.dtype != np.uint8 or not image.size:
      raise errors.InputError(
        f"{name}: images are {image.dtype} {image.shape}; uint8 [n h w] or [n h w c] in 0..255 is "
        "wanted. Scale and convert them."
      )
    n = len(image)
    label = np.full(n, -1) if label is None else np.asarray(label)
    if label.shape == (n, 1):
      label = label[:, 0]
    if label.shape != (n,) or label.dtype.kind not in "iu":
      raise errors.InputError(
        f"{name}: labels are {label.dtype} {label.shape}; integers [{n}] are wanted, one an image."
      )
    size = np.broadcast_to(np.array(image.shape[1:3]), (n, 2)) if size is None else size
    self._batch = {"image": image, "size": size.astype(np.int32), "label": label.astype(np.int32)}
    self.label, self.name = self._batch["label"], name
    self.classes = classes or tuple(str(i) for i in range(int(label.max()) + 1))

  def __len__(self) -> int:
    return len(self._batch["image"])

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    return {key: np.asarray(value[indices]) for key, value in self._batch.items()}

  def take(self, rows: np.ndarray, name: str) -> "Arrays":
    """Selects these rows as a Source with the same classes."""
    batch = self[rows]
    return Arrays(batch["image"], batch["label"], self.classes, size=batch["size"], name=name)

  def names(self, indices: np.ndarray) -> list[str]:
    return [f"{self.name} {index}" for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the arrays."""
    digest = hashlib.blake2b(digest_size=8)
    for value in self._batch.values():
      digest.update(str(value.shape).encode())
      digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def digits(*, split: str = "train") -> Arrays:
  """Loads the 1797 handwritten digits of scikit-learn, 8 x 8 x 1, which need no download.

  A fixed fifth of each class is "test", the rest "train"; "all" is both. The grey values 0..16
  become 0..255 by integer rounding.
  """
  from sklearn import datasets  # here, because it takes a second and only this source needs it

  data = datasets.load_digits()
  image = (data.images.astype(np.int64) * 255 + 8) // 16
  return _part(Arrays(image.astype(np.uint8), data.target, name="digits"), split, 0.2)


def arrays(*, path: str, split: str = "train", holdout: float = 0.1) -> Arrays:
  """Opens images in a .npy file, or in a .npz file with keys image(s) and, if labelled, label(s).

  Keys such as train_images, train_labels, test_images give the splits. Without such a prefix a
  fixed draw of `holdout` of each class is "test", the rest "train", and "all" is both. Nothing is
  unpickled. InputError when the file cannot be read or holds no usable images.
  """
  stored = _load(os.path.expanduser(path))
  groups = {
    found[1] or "": Arrays(stored[key], _labels(stored, found[1]), name=path)
    for key in stored
    if (found := _IMAGES.fullmatch(key))
  }
  if not groups:
    keys = ", ".join(sorted(stored)) or "none"
    raise errors.InputError(
      f"data.path: {path!r} has no images. Its keys: {keys}; wanted: images and labels, or "
      "train_images, train_labels, test_images, test_labels."
    )
  if "" in groups:
    return _part(groups[""], split, holdout)
  name, start, stop = splits.resolve(split, {key: len(value) for key, value in groups.items()})
  chosen = groups[name]
  chosen.classes = max((group.classes for group in groups.values()), key=len)
  return chosen.take(splits.draw(len(chosen), start, stop), f"{path} {name}")


def _part(whole: Arrays, split: str, holdout: float) -> Arrays:
  """Selects `split`, where a fixed draw of `holdout` of each class is the test split."""
  every = np.arange(len(whole))
  test = splits.held_out(whole.label, holdout)
  rows = {"train": every[~test], "test": every[test], "all": every}
  name, start, stop = splits.resolve(split, {key: len(value) for key, value in rows.items()})
  return whole.take(rows[name][splits.draw(len(rows[name]), start, stop)], f"{whole.name} {name}")


def _labels(stored: dict[str, np.ndarray], split: str | None) -> np.ndarray | None:
  names = [f"{split}_{key}" if split else key for key in ("labels", "label")]
  return next((stored[name] for name in names if name in stored), None)


def _load(path: str) -> dict[str, np.ndarray]:
  try:
    # Mapped, so that of a .npy file only the rows of the split are read.
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(stored, np.ndarray):
      return {"images": stored}
    with stored:
      return dict(stored)
  except Exception as error:  # missing, truncated, no array file, pickled objects: many kinds
    raise errors.InputError(
      f"data.path: {path!r} cannot be read ({type(error).__name__}: {error}). "
      "Give a .npz or .npy file of plain arrays."
    ) from error
