"""What a config says, made real: parts, objective, teachers, data, mesh."""

import functools
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax.data import pipeline, skipping
from mim_jax.data.image import host
from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.weights import parts as parts_lib


class Spec:
  """The nodes of a config made real, and its data. Nothing is remembered but what was opened.

  Attributes:
    config: what it was built from.
    parts: the Linen module that holds all parts; `parts.bind({"params": params})` gives the
      student.
    objective: a partial of it.
    teachers: {name: teacher}.
    evaluations: {name: evaluation}, and their settings.
    augment, view: of a raw batch, for training (with a key) and for evaluations.
    mesh: the devices (data, fsdp, tensor).
  """

  def __init__(self, config: typing.Any, devices=None):
    """Builds all nodes of `config`; `devices` defaults to all there are."""
    build = functools.partial(config_lib.build, allow=tuple(config.get("allow_modules", ())))
    self.config = config
    self.parts = parts_lib.parts_of(config)
    self.objective = build(config.objective, where="objective")
    self.mesh = mesh.make(**config.train.mesh, devices=devices)
    mesh.check_batch(config.train.batch_size, self.mesh)
    data = build(config.data, where="data")
    if config.data.get("crop", "device") == "host":
      data = host.on_host(data)
    self._sources = {name: data[name] for name in ("train", "test")}
    self.augment = data["augment"]
    self._view = data["view"]
    self.teachers = build(config.teachers, where="teachers")
    self.make_optimizer = build(config.optimizer, where="optimizer")
    start = build(config.get("start_from"), where="start_from")
    self.start_from = start or (lambda params: params)
    self.evaluations = build(config.evaluations, where="evaluations")

  # Data.

  @functools.cached_property
  def data(self) -> types.SimpleNamespace:
    """The sources, `.train` and `.test`, opened on first use; what is unreadable is passed over."""
    most = self.config.train.get("skip_rate", skipping.MAX_SKIPPED)
    opened = {name: skipping.SkipUnreadable(s(), most) for name, s in self._sources.items()}
    return types.SimpleNamespace(**opened)

  def view(self, batch: dict) -> dict:
    """Shows a raw batch as evaluations see it."""
    return self._view({k: jnp.asarray(v) for k, v in batch.items()})

  def batches(self):
    """Reads endless training batches of this process, from the first."""
    settings = self.config.train
    return pipeline.batches(
      self.data.train,
      settings.batch_size,
      self.config.seed,
      shard=(jax.process_index(), jax.process_count()),
      threads=settings.threads,
      workers=settings.get("workers", 0),
    )

  def samples(self, batch: int):
    """Finds the training samples in batch number `batch` of the run, of all processes: [b]."""
    rows = self.config.train.batch_size
    return pipeline.permute(batch * rows + np.arange(rows), len(self.data.train), self.config.seed)

  def fingerprint(self) -> str:
    """Tells this training set from others."""
    return self.data.train.fingerprint

  # Progress.

  @functools.cached_property
  def total_steps(self) -> int:
    """Updates of the whole run, from `train.steps` or `train.epochs`."""
    settings = self.config.train
    if (settings.steps is None) == (settings.epochs is None):
      raise InputError(
        f"train: steps={settings.steps}, epochs={settings.epochs}. Give one of them and not both "
        "(in a config file the other is None)."
      )
    if settings.steps is not None:
      return settings.steps
    return max(1, round(settings.epochs * len(self.data.train) / settings.batch_size))

  def step(self, index) -> core.Step:
    """Makes the Step number `index` (updates done before it)."""
    index = jnp.asarray(index, jnp.int32)
    key = jax.random.fold_in(jax.random.key(self.config.seed), index)
    return core.Step(key, index, index.astype(jnp.float32) / self.total_steps)

  # Parts.

  @functools.cached_property
  def optimizer(self):
    """The Optax transformation."""
    return self.make_optimizer(self.total_steps)

  def bind_teachers(self, trees: dict, stats: dict, parts=None) -> types.SimpleNamespace:
    """Makes teachers ready to be called by an objective."""
    parts = self.parts if parts is None else parts
    bound = {name: self.teachers[name].bind(parts, tree, stats) for name, tree in trees.items()}
    return types.SimpleNamespace(**bound)


def fitted(config):
  """Sets a batch that the training data of a config fill, where `train.fit_batch` says so.

  A batch of more samples than there are becomes the largest power of two that is no larger; the
  rates follow. All else is unchanged, and where there is enough data so is the config.
  """
  if not config.train.get("fit_batch", False):
    return config
  config.train.fit_batch = False  # found once, and written so
  allow = tuple(config.get("allow_modules", ()))
  count = len(config_lib.build(config.data.train, allow, "data.train")())
  if 0 < count < config.train.batch_size:
    config.train.batch_size = 2 ** (count.bit_length() - 1)
  return config
