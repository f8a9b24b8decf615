"""Prepared TFDS data sets as a Source, without TensorFlow."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from mim_jax import errors
from mim_jax.data import splits
from mim_jax.data.image import decode, encoded


@dataclasses.dataclass(frozen=True)
class Records(encoded.Encoded):
  """Reads records with the features `image` and, optionally, `label`.

  Attributes:
    records: a data source of tfds whose images are still encoded.
    name: data set, version and split.
    start, stop: which records.
    classes: names of the labels.
    labelled: whether there are labels.
    decoder: how an encoded image becomes an array.
  """

  records: Any
  name: str
  start: int
  stop: int
  classes: tuple[str, ...]
  labelled: bool
  decoder: decode.Decoder

  def __len__(self) -> int:
    return self.stop - self.start

  def fetch(self, indices: np.ndarray) -> tuple[list[bytes | np.ndarray], np.ndarray]:
    rows = self.records.__getitems__([self.start + int(index) for index in indices])
    label = np.array([row["label"] if self.labelled else -1 for row in rows], np.int32)
    return [row["image"] for row in rows], label

  @functools.cached_property
  def label(self) -> np.ndarray:  # type: ignore[override]
    """Reads the labels of all records, int32 [n], the first time."""
    whole = np.arange(len(self))
    if not self.labelled:
      return np.full(len(self), -1, np.int32)
    pieces = [self.fetch(whole[i : i + 1024])[1] for i in range(0, len(self), 1024)]
    return np.concatenate(pieces)

  def names(self, indices: np.ndarray) -> list[str]:
    """Names data set, version, split and number of each record."""
    return [f"{self.name} {self.start + int(index)}" for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the data set's name, version, split and size, which TFDS promises to identify it."""
    told = f"{self.name} {len(self.records)} {self.start} {self.stop} {self.classes}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def tfds(
  *,
  name: str,
  split: str = "train",
  canvas: int = 256,
  channels: int = 3,
  data_dir: str | None = None,
  limits: tuple[int, int] = decode.LIMITS,
) -> Records:
  """Opens a data set of tensorflow_datasets that was prepared as array_record, such as "cifar10".

  data_dir: where it was prepared; None is TFDS' own default. canvas, channels, limits: see
  decode.Decoder. A part such as "train[:10%]" is the first tenth, as in TFDS, whose records are
  shuffled. InputError when the data set is unknown, unprepared, or has no images.
  """
  import tensorflow_datasets  # here, because it takes a second and only this source needs it

  decoder = decode.Decoder(canvas, channels, limits)
  builder = _builder(name, data_dir)
  features = dict(getattr(builder.info.features, "items", dict)())
  if not isinstance(features.get("image"), tensorflow_datasets.features.Image):
    raise errors.InputError(
      f"data.name: TFDS data set {name!r} has no feature 'image' that is an image. "
      f"It has: {', '.join(features)}. Choose an image data set."
    )
  counts = {key: info.num_examples for key, info in builder.info.splits.items()}
  key, start, stop = splits.resolve(split, counts)
  label = features.get("label")
  classes = tuple(getattr(label, "names", None) or ())
  labelled = label is not None and label.shape == ()
  # Decoded here rather than by TFDS, so that the limits and the table of channels hold.
  skip = {"image": tensorflow_datasets.decode.SkipDecoding()}
  records = builder.as_data_source(key, decoders=skip)
  full = f"{builder.info.full_name} {key}"
  return Records(records, full, start, stop, classes, labelled, decoder)


def _builder(name: str, data_dir: str | None):
  import tensorflow_datasets

  try:
    builder = tensorflow_datasets.builder(name, data_dir=data_dir)
  except tensorflow_datasets.core.DatasetNotFoundError as error:
    known = tensorflow_datasets.list_builders(with_community_datasets=False)
    near = errors.nearest(name.partition("/")[0].partition(":")[0], known) or "."
    raise errors.InputError(
      f"data.name: TFDS has no data set {name!r}{near} {len(known)} are known; "
      "tensorflow_datasets.list_builders() lists them."
    ) from error
  formats = {kind.value for kind in builder.info.available_file_formats()}
  if not builder.info.splits or "array_record" not in formats:
    found = f"prepared as {', '.join(sorted(formats))}" if builder.info.splits else "not prepared"
    place = f" --data_dir={data_dir}" if data_dir else ""
    raise errors.InputError(
      f"data.name: TFDS data set {name!r} is {found} in {builder.data_dir}; array_record is "
      "wanted. Prepare it once, where TensorFlow is installed (reading needs none): "
      f"tfds build {name} --file_format=array_record{place}"
    )
  return builder
