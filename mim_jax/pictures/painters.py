"""Which painter draws what an objective returned: the config's, or the one its target names."""

import functools
import inspect

from mim_jax import config as config_lib
from mim_jax import pictures


def of(config, objective):
  """Finds the painter of a config: painter(batch, outcome) -> Pictures; None where there is none.

  The config's own `pictures` comes first. Else the objective's target names one (core.painted_by),
  which gets those of the target's settings that it knows, so that they are said once.
  """
  own = config.get("pictures")
  if own is not None:
    return config_lib.build(own, tuple(config.get("allow_modules", ())), "pictures")
  target = objective.keywords.get("target")
  name = getattr(getattr(target, "func", None), "painter", None)
  if target is None or name is None:
    return None
  painter = getattr(pictures, name)
  known = inspect.signature(painter).parameters
  settings = dict(inspect.signature(target).parameters)
  shared = {k: p.default for k, p in settings.items() if k in known and k not in ("batch", "mask")}
  return functools.partial(painter, **shared)
