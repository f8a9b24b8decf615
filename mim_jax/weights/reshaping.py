"""Reshaping rules between a layout's arrays and ours. Letters: c channels, d width, s sites."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Rule:
  """Pairs ours(their array) and theirs(our array), each the inverse of the other."""

  ours: Callable
  theirs: Callable


def rules(cube: tuple[int, ...], channels: int, cell: int = 1) -> dict[str, Rule]:
  """Makes the rules by name, for patches of the sides `cube` with `channels` values a pixel.

  cell: tokens along the side of what one output of a linear head stands for.
  """
  flat = math.prod(cube) * channels
  last = len(cube)

  def flattened(x):  # [d c *s] -> [(*s c) d]
    return np.moveaxis(x, (0, 1), (-1, -2)).reshape(flat, x.shape[0])

  def unflattened(x):
    return np.moveaxis(x.reshape(*cube, channels, x.shape[-1]), (last, last + 1), (1, 0))

  return {
    "": Rule(lambda x: x, lambda x: x),
    "linear": Rule(np.transpose, np.transpose),
    "patches": Rule(flattened, unflattened),
    "conv": Rule(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)),
    "vector": Rule(lambda x: x.reshape(1, 1, -1), lambda x: x.reshape(-1)),
    "deeper": Rule(lambda x: x[None], lambda x: x[0]),
    "shuffled": _shuffled(cube[-1], channels, cell),
    "shuffled 1x1": _one_by_one(_shuffled(cube[-1], channels, cell)),
  }


def _shuffled(patch: int, channels: int, cell: int) -> Rule:
  """Reorders a pixel shuffle's outputs (c, y, x) as those of cell x cell patches, (i, j, p, q, c).

  y = i patch + p and x = j patch + q. On biases, or on kernels turned so that outputs come last.
  """
  theirs = (channels, cell, patch, cell, patch)
  ours = (cell, cell, patch, patch, channels)

  def to_ours(x):
    x = x.T
    wide = x.reshape(*x.shape[:-1], *theirs)
    k = wide.ndim - 5
    return wide.transpose(*range(k), k + 1, k + 3, k + 2, k + 4, k).reshape(x.shape)

  def to_theirs(x):
    wide = x.reshape(*x.shape[:-1], *ours)
    k = wide.ndim - 5
    return wide.transpose(*range(k), k + 4, k, k + 2, k + 1, k + 3).reshape(x.shape).T

  return Rule(to_ours, to_theirs)


def _one_by_one(rule: Rule) -> Rule:
  """Applies a rule to the kernel [d_out d_in 1 1] of a convolution."""
  return Rule(lambda x: rule.ours(x[:, :, 0, 0]), lambda x: rule.theirs(x)[:, :, None, None])
