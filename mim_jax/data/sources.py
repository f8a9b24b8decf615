"""What can be trained on: the embedded digits, arrays, folders of images, TFDS data sets.

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
from mim_jax.data.folder import folder as folder
from mim_jax.data.tfds import tfds as tfds

_IMAGES = re.compile(r"(?:(\w+)_)?images?")


@runtime_checkable
class Source(Protocol):
  """Images with random access, read a batch at a time; any object that has these is a Source.

  Attributes:
    classes: names of the labels, () when unlabelled.
    fingerprint: short hash of the content; it differs when the data has changed.
  """

  classes: tuple[str, ...]
  fingerprint: str

  def __len__(self) -> int:
    """Images."""

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The batch at integer indices [b], of the same H W c each time.

    image: uint8 [b H W c]; an image smaller than H W lies top-left.
    size: int32 [b 2], height and width of each image inside H W.
    label: int32 [b], -1 where there is none.
    """

  def names(self, indices: np.ndarray) -> list[str]:
    """What to call these images in messages."""


class Arrays:
  """A Source in memory."""

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

    classes: names of the labels; their numbers where none are given. name: for messages.
    InputError when the arrays disagree.
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
    self._name = name
    self.classes = classes or tuple(str(i) for i in range(int(label.max()) + 1))

  def __len__(self) -> int:
    """Images."""
    return len(self._batch["image"])

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """See Source."""
    return {key: np.asarray(value[indices]) for key, value in self._batch.items()}

  def names(self, indices: np.ndarray) -> list[str]:
    """See Source."""
    return [f"{self._name} {index}" for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hash of the arrays."""
    digest = hashlib.blake2b(digest_size=8)
    for value in self._batch.values():
      digest.update(str(value.shape).encode())
      digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def digits(*, split: str = "train") -> Arrays:
  """The 1797 handwritten digits of scikit-learn, 8 x 8 x 1, which need no download.

  A fixed fifth of each class is "test", the rest "train"; "all" is both. The grey values 0..16
  become 0..255 by integer rounding.
  """
  from sklearn import datasets  # here, because it takes a second and only this source needs it

  data = datasets.load_digits()
  image = (data.images.astype(np.int64) * 255 + 8) // 16
  return _part(image.astype(np.uint8), data.target, split, 0.2, "digits")


def arrays(*, path: str, split: str = "train", holdout: float = 0.1) -> Arrays:
  """Images in a .npy file, or in a .npz file with the keys image(s) and, if labelled, label(s).

  Keys such as train_images, train_labels, test_images give the splits. Without such a prefix a
  fixed draw of `holdout` of each class is "test", the rest "train", and "all" is both. Nothing is
  unpickled.
  InputError when the file cannot be read or holds no images.
  """
  stored = _load(os.path.expanduser(path))
  groups = {found[1] or "": found[0] for key in stored if (found := _IMAGES.fullmatch(key))}
  if not groups:
    keys = ", ".join(sorted(stored)) or "none"
    raise errors.InputError(
      f"data.path: {path!r} has no images. Its keys: {keys}; wanted: images and labels, or "
      "train_images, train_labels, test_images, test_labels."
    )
  if "" in groups:
    return _part(stored[groups[""]], _labels(stored, ""), split, holdout, path)
  counts = {prefix: len(stored[key]) for prefix, key in groups.items()}
  name, start, stop = splits.resolve(split, counts)
  rows, label = splits.draw(counts[name], start, stop), _labels(stored, f"{name}_")
  return Arrays(stored[groups[name]][rows], None if label is None else label[rows], name=path)


def _part(image, label, split: str, holdout: float, name: str) -> Arrays:
  """The entries of `split`, where a fixed draw of `holdout` of each class is the test split."""
  test = splits.held_out(np.zeros(len(image)) if label is None else label.reshape(-1), holdout)
  rows = {"train": np.flatnonzero(~test), "test": np.flatnonzero(test), "all": np.arange(len(test))}
  key, start, stop = splits.resolve(split, {key: len(value) for key, value in rows.items()})
  chosen = rows[key][splits.draw(len(rows[key]), start, stop)]
  return Arrays(image[chosen], None if label is None else label[chosen], name=f"{name} {key}")


def _labels(stored: dict[str, np.ndarray], prefix: str) -> np.ndarray | None:
  return next((stored[k] for k in (f"{prefix}labels", f"{prefix}label") if k in stored), None)


def _load(path: str) -> dict[str, np.ndarray]:
  try:
    # A .npy file stays on disk and is read where it is needed.
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
