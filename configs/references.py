"""Values that follow others, so that an override moves all that depends on it."""

import collections
from collections.abc import Callable

from ml_collections import config_dict

_Op = collections.namedtuple("_Op", ("fn", "args"))  # as ml_collections wants it


def follow(fn: Callable, *refs: config_dict.FieldReference) -> config_dict.FieldReference:
  """Makes a value fn(*refs) that follows its references, until it is set itself."""

  def now(_=None):
    return fn(*(ref.get() for ref in refs))

  return config_dict.FieldReference(now(), op=_Op(now, ()))


def grid(c) -> config_dict.FieldReference:
  """Patches along each side of an image as training sees it."""
  size, patch = c.data.augment.get_ref("size"), c.get_ref("patch")
  return follow(lambda sides, p: tuple(side // p for side in sides), size, patch)


def scaled(c, rate: float, per: int = 256) -> config_dict.FieldReference:
  """Makes `rate`, which is for batches of `per`, times batch size / `per`, whatever is set later.

  A float comes first, so that a float may replace the result on the command line.
  """
  return config_dict.FieldReference(rate / per) * c.train.get_ref("batch_size")


def share(c, a, epochs: float, most: float = 1.0, none: float = 0.0) -> config_dict.FieldReference:
  """Makes the share of the run that `epochs` are, at most `most`; in steps as published."""

  def of(length):
    return max(none, min(epochs / (length or a.epochs), most))

  return follow(of, c.train.get_ref("epochs"))


def per_batch(rate: float, per: int = 256) -> Callable:
  """Says in an overlay: a rate for batches of `per`."""
  return lambda c, a: scaled(c, rate, per)
