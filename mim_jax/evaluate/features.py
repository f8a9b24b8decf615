"""Features of whole sources. Letters: b batch, n images, e feature width."""

import numpy as np

from mim_jax.errors import InputError


class NoLabels(InputError):
  """An evaluation needs labels and there are none: the runner calls it skipped, not failed."""


class Cached:
  """An encode that remembers the features of whole sources, so that nothing is encoded twice.

  Sources are told apart by identity, not by fingerprint: two sources that look alike must not be
  mistaken for each other, least of all the training images for the test images.
  """

  def __init__(self, encode):
    self.encode = encode
    self._kept: dict = {}

  def __call__(self, batch, layer=None, pool="mean"):
    return self.encode(batch, layer=layer, pool=pool)

  def features(self, source, batch_size: int, layer, pool):
    """As `features`, but only the first call for a (source, layer, pool) encodes."""
    key = (id(source), layer, pool)
    if key not in self._kept:
      found = features(self.encode, source, batch_size, layer, pool)
      for array in found:
        array.setflags(write=False)
      self._kept[key] = source, found  # holding the source keeps its id from being given again
    return self._kept[key][1]


def features(
  encode, source, batch_size: int, layer=None, pool="mean"
) -> tuple[np.ndarray, np.ndarray]:
  """(features [n e] float32, labels [n] int32, -1 = unlabelled) of a source, in its own order.

  InputError where a feature is not finite.
  """
  if isinstance(encode, Cached):
    return encode.features(source, batch_size, layer, pool)
  from mim_jax.data import pipeline  # late: it brings Grain

  rows, labels = [], []
  for batch, count in pipeline.in_order(source, batch_size):
    encoded = np.asarray(encode(batch, layer=layer, pool=pool), np.float32)
    rows.append(encoded[:count])
    labels.append(np.asarray(batch["label"][:count], np.int32))
  found = np.concatenate(rows)
  broken = np.flatnonzero(~np.isfinite(found).all(1))
  if broken.size:
    raise InputError(
      f"features: {broken.size} of {len(found)} images have features that are not finite (the "
      f"first is number {broken[0]}). The encoder has diverged; evaluate an earlier checkpoint."
    )
  return found, np.concatenate(labels)


def labelled(encode, data, batch_size: int, layer=None, pool="mean"):
  """(train [n e], labels [n], test [n e], labels [n]) of the images that have a label.

  NoLabels where a side has none, InputError where the two sides number their classes differently.
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
  return (
    *_with_label("training", features(encode, data.train, batch_size, layer, pool)),
    *_with_label("test", features(encode, data.test, batch_size, layer, pool)),
  )


def _with_label(name, found):
  values, labels = found
  keep = labels >= 0
  if not keep.any():
    raise NoLabels(f"needs labels, and the {name} images have none")
  return (values, labels) if keep.all() else (values[keep], labels[keep])
