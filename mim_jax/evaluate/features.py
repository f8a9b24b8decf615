"""Features of whole sources. Letters: b batch, n images, t tokens, e feature width."""

import hashlib
import json
import os
import pathlib

import numpy as np
import safetensors.numpy

from mim_jax.errors import InputError
from mim_jax.evaluate import network

DEFAULTS = dict(last=1, size=0)  # settings that an encode need not take


class NoLabels(InputError):
  """Raised where labels are needed and there are none: the runner marks it skipped, not failed."""


def deterministic(evaluation):
  """Marks an evaluation as deterministic, so that it runs once an encoder for all seeds."""
  evaluation.draws = False
  return evaluation


def uncached(encode):
  """Returns the encode without its cache, for sources that are read once."""
  return encode.encode if isinstance(encode, Cached) else encode


class Cached:
  """Caches the features of whole sources, so that nothing is encoded twice.

  In memory sources are identified by object, not by fingerprint: two sources of equal fingerprints
  must not be mistaken for each other, least of all the training images for the test images. In a
  `folder` features of images, not of all their tokens, are keyed by a hash of weights, protocol and
  content of the source.
  """

  def __init__(self, encode, folder: pathlib.Path | None = None):
    self.encode, self.folder = encode, folder
    self._kept: dict = {}

  def __call__(self, batch, layer=None, pool="mean", **settings):
    return self.encode(batch, layer=layer, pool=pool, **settings)

  def features(self, source, batch_size: int, layer, pool, **settings):
    """Encodes a source as `features`, once for each (source, layer, pool, settings)."""
    key = (id(source), layer, pool, *sorted(settings.items()))
    if key not in self._kept:
      file = self._file(source, layer, pool, settings)
      found = _stored(file)
      if found is None:
        found = features(self.encode, source, batch_size, layer, pool, **settings)
        _store(file, found)
      for array in found:
        array.setflags(write=False)
      self._kept[key] = source, found  # holding the source keeps its id from being given again
    return self._kept[key][1]

  def _file(self, source, layer, pool, settings) -> pathlib.Path | None:
    """Names the file of these features; None without a folder, or weights to hash."""
    known = isinstance(self.encode, network.Encoder) and pool not in ("tokens", None)
    if self.folder is None or not known:
      return None
    told = dict(settings, layer=layer, pool=pool, source=source.fingerprint, images=len(source))
    told["weights"] = self.encode.fingerprint
    text = json.dumps(told, sort_keys=True)
    return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.safetensors"


def _stored(file: pathlib.Path | None):
  """Reads (features, labels) of a file, None where there is none or not a whole one."""
  if file is None or not file.is_file():
    return None
  try:
    arrays = safetensors.numpy.load_file(file)
    return arrays["features"], arrays["labels"]
  except (safetensors.SafetensorError, KeyError):
    return None  # cut off, say; made anew


def _store(file: pathlib.Path | None, found) -> None:
  if file is not None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(f".{os.getpid()}.tmp")
    safetensors.numpy.save_file(dict(zip(("features", "labels"), found, strict=True)), scratch)
    scratch.replace(file)


def features(
  encode, source, batch_size: int, layer=None, pool="mean", **settings
) -> tuple[np.ndarray, np.ndarray]:
  """Encodes a source: (features [n e], or [n t e] of all tokens, float32; labels [n] int32).

  In the order of the source; label -1 = unlabelled. settings: `last`, `size`, see network.Encoder.
  InputError where a feature is not finite.
  """
  settings = {k: v for k, v in settings.items() if v != DEFAULTS[k]}
  if isinstance(encode, Cached):
    return encode.features(source, batch_size, layer, pool, **settings)
  from mim_jax.data import pipeline  # late: it brings Grain

  rows, labels = [], []
  for batch, count in pipeline.in_order(source, batch_size):
    encoded = np.asarray(encode(batch, layer=layer, pool=pool, **settings), np.float32)
    rows.append(encoded[:count])
    labels.append(np.asarray(batch["label"][:count], np.int32))
  found = np.concatenate(rows)
  broken = np.flatnonzero(~np.isfinite(found).all(tuple(range(1, found.ndim))))
  if broken.size:
    raise InputError(
      f"features: {broken.size} of {len(found)} images have features that are not finite (the "
      f"first is number {broken[0]}). The encoder has diverged; evaluate an earlier checkpoint."
    )
  return found, np.concatenate(labels)


def labelled(encode, data, batch_size: int, layer=None, pool="mean", **settings):
  """Encodes the images that have a label: (train [n e], labels [n], test [n e], labels [n]).

  settings: as in `features`. NoLabels where a side has none, InputError where the two sides number
  their classes differently.
  """
  check_classes(data)
  where = dict(settings, layer=layer, pool=pool)
  return (
    *_with_label("training", features(encode, data.train, batch_size, **where)),
    *_with_label("test", features(encode, data.test, batch_size, **where)),
  )


def check_classes(data) -> None:
  """Checks the classes of training and test images.

  NoLabels where a side has none, InputError where the two sides number classes differently.
  """
  for name, source in (("training", data.train), ("test", data.test)):
    if not source.classes:
      raise NoLabels(f"needs labels, and the {name} images have none")
  if tuple(data.train.classes) != tuple(data.test.classes):
    differ = sorted(set(data.train.classes) ^ set(data.test.classes)) or "their order"
    raise InputError(
      f"classes: training and test images do not have the same classes; they differ in {differ}. "
      "Give both splits the same classes in the same order."
    )


def _with_label(name, found):
  values, labels = found
  keep = labels >= 0
  if not keep.any():
    raise NoLabels(f"needs labels, and the {name} images have none")
  return (values, labels) if keep.all() else (values[keep], labels[keep])
