"""What differs on a laptop and with embedded data, said beside the paper as data."""

import fnmatch
import functools
import inspect

import ml_collections

from mim_jax import errors
from mim_jax.configs import references
from mim_jax.configs.arguments import SIZES


def finish(c, a, laptop: dict | None = None, embedded: dict | None = None):
  """Ends a config: says beside the paper what differs on a laptop and with embedded data.

  An overlay is {pattern of keys: value}, `parts.*.kernels` or a key; a value may be {size: value},
  a dict of settings of a node, or a function of (c, a). InputError for one that fits no key.
  """
  if a.laptop:
    common = {"optimizer.learning_rate.peak": references.per_batch(2e-3)}
    for overlay in (common, laptop or {}):
      _lay(c, a, overlay)
  if a.embedded:
    _lay(c, a, embedded or {})
  return c


def _lay(c, a, overlay: dict) -> None:
  for pattern, value in overlay.items():
    if isinstance(value, dict) and set(value) <= set(SIZES):
      if a.size not in value:
        continue
      value = value[a.size]
    value = value(c, a) if inspect.isfunction(value) else value
    keys = fnmatch.filter(paths(c), pattern)
    if not keys:
      raise errors.unknown("overlay: key", pattern, paths(c))
    for key in keys:
      owner, _, name = key.rpartition(".")
      node = functools.reduce(lambda node, step: node[step], filter(None, owner.split(".")), c)
      if isinstance(value, dict):
        node[name].update(value)
      else:
        node[name] = value


def paths(c, prefix: str = "") -> list[str]:
  """Lists the keys of a config, those of nodes and of what they hold."""
  found = []
  for name, value in c.items():
    found.append(f"{prefix}{name}")
    if isinstance(value, ml_collections.ConfigDict):
      found += paths(value, f"{prefix}{name}.")
  return found
