"""Frozen teachers: the parts of a finished run, or of a config at random initialisation."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax.weights import native
from mim_jax.weights import parts as parts_lib


@dataclasses.dataclass(frozen=True)
class FromRun:
  """Frozen teacher of a finished run, or of published weights.

  Its arrays become part of the state, so that a checkpoint holds all that resuming needs.

  Attributes:
    path: a run folder, its weights.safetensors, or published weights with a config.json; convert
      others by `mim-jax convert` first.
    sha256: of that file; None for no check.
    dtype: of its computation; None as in its own run.
  """

  path: str
  sha256: str | None = None
  dtype: str | None = None

  @functools.cached_property
  def _loaded(self):
    return native.load(self.path, self.sha256)

  def init(self, params):
    """Loads the run's variables."""
    return jax.tree.map(jnp.asarray, self._loaded[0])

  def update(self, teacher, params, progress):
    """Unchanged."""
    return teacher

  def bind(self, parts, teacher, stats):
    """Binds the run's own parts."""
    return parts_lib.parts_of(self._config).bind(teacher)

  @functools.cached_property
  def _config(self):
    if self.dtype is None:
      return self._loaded[1]
    config = self._loaded[1].copy_and_resolve_references()
    for node in config.parts.values():
      for holder in (node, node.get("stack", {})):
        if "dtype" in holder:
          holder.dtype = self.dtype
    return config


@dataclasses.dataclass(frozen=True)
class Untrained:
  """Frozen teacher at random initialisation, with the shapes of a real one, for trying out.

  Attributes:
    config: name of the config of its parts.
    arg: argument of that config.
    image: height, width, channels of the image that its parameters are initialised with.
    seed: of its parameters.
    whole: initialise all parts, by running the objective; else tokenizer and encoder alone.
  """

  config: str
  arg: str = ""
  image: tuple[int, int, int] = (224, 224, 3)
  seed: int = 0
  whole: bool = False

  @functools.cached_property
  def _config(self):
    return config_lib.get_config(self.config, self.arg)

  @functools.cached_property
  def _parts(self):
    return parts_lib.parts_of(self._config)

  def init(self, params):
    """Initialises parameters, and other collections where its parts have some."""
    look = self._objective if self.whole else self._encoder
    return dict(self._parts.init(jax.random.key(self.seed), method=look))

  def _encoder(self, parts):
    return parts.encoder(parts.tokenizer(jnp.zeros((1, *self.image))))

  def _objective(self, parts):
    objective = config_lib.build(self._config.objective, where="objective")
    step = core.Step(jax.random.key(self.seed), jnp.zeros([], jnp.int32), jnp.zeros([]))
    teachers = types.SimpleNamespace(**dict.fromkeys(self._config.teachers, parts))
    return objective(parts, {"image": jnp.zeros((1, *self.image))}, step, teachers)

  def update(self, teacher, params, progress):
    """Unchanged."""
    return teacher

  def bind(self, parts, teacher, stats):
    """Binds its parts."""
    return self._parts.bind(teacher)
