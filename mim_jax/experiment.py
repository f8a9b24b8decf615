"""The config made real: parts, objective, optimizer, data, and the pure functions made of them."""

import dataclasses
import functools
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax.data import pipeline, skipping
from mim_jax.data.image import host
from mim_jax.devices import mesh
from mim_jax.errors import InputError
from mim_jax.evaluate import network
from mim_jax.pictures import painters
from mim_jax.train import loop, update
from mim_jax.train import state as state_lib
from mim_jax.weights import parts as parts_lib

# A step's key is split by use, so that an objective may draw from `step.key` as it likes.
_AUGMENT, _DROPOUT = 1, 2


class Experiment:
  """A config made real. Everything here is a function of its arguments; nothing is remembered.

  Attributes:
    config: what it was built from.
    parts: the Linen module that holds all parts; `parts.bind({"params": params})` gives the
    student.
    mesh: the devices (data, fsdp, tensor).
  """

  def __init__(self, config, devices=None):
    """Builds all nodes of `config`; `devices` defaults to all there are."""
    build = functools.partial(config_lib.build, allow=tuple(config.get("allow_modules", ())))
    self.config = config
    self.parts = parts_lib.parts_of(config)
    self.objective = build(config.objective, where="objective")
    self.mesh = mesh.make(**config.train.mesh, devices=devices)
    mesh.check_batch(config.train.batch_size, self.mesh)
    self._painter = painters.of(config, self.objective)
    self._data = build(config.data, where="data")
    if config.data.get("crop", "device") == "host":
      self._data = host.on_host(self._data)
    self._teachers = build(config.teachers, where="teachers")
    self._make_optimizer = build(config.optimizer, where="optimizer")
    self._start_from = build(config.get("start_from"), where="start_from") or (
      lambda params: params
    )
    self.evaluations = build(config.evaluations, where="evaluations")

  # Data.

  @functools.cached_property
  def data(self) -> types.SimpleNamespace:
    """The sources, `.train` and `.test`, opened on first use; what is unreadable is passed over."""
    rate = self.config.train.get("skip_rate", skipping.MAX_SKIPPED)
    opened = {name: skipping.SkipUnreadable(self._data[name](), rate) for name in ("train", "test")}
    return types.SimpleNamespace(**opened)

  def view(self, batch: dict) -> dict:
    """A raw batch as evaluations see it: centre crop, normalised."""
    return self._data["view"]({k: jnp.asarray(v) for k, v in batch.items()})

  def batches(self):
    """Endless training batches of this process, from the first."""
    shard = (jax.process_index(), jax.process_count())
    settings = self.config.train
    return pipeline.batches(
      self.data.train,
      settings.batch_size,
      self.config.seed,
      shard=shard,
      threads=settings.threads,
      workers=settings.get("workers", 0),
    )

  def samples(self, batch: int):
    """Which training images are in batch number `batch` of the run, of all processes: int [b]."""
    rows = self.config.train.batch_size
    return pipeline.permute(batch * rows + np.arange(rows), len(self.data.train), self.config.seed)

  def fingerprint(self) -> str:
    """Tells this training set from others."""
    return self.data.train.fingerprint

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

  # Training.

  @functools.cached_property
  def optimizer(self):
    """The Optax transformation."""
    return self._make_optimizer(self.total_steps)

  def init(self, key) -> state_lib.TrainState:
    """The state before the first step, placed on the mesh."""
    return self._compiled_init(key)

  @functools.cached_property
  def _compiled_init(self):
    shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state())
    return jax.jit(self._init, out_shardings=shardings)

  @functools.cache  # noqa: B019 - an experiment lives as long as its run
  def abstract_state(self):
    """Shapes and places of the state, without making it."""
    shapes = jax.eval_shape(self._init, jax.random.key(0))
    places = mesh.state_sharding(shapes, self.mesh, self.config.train.sharding)
    return jax.tree.map(
      lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p), shapes, places
    )

  def _init(self, key) -> state_lib.TrainState:
    """Parameters come into being by running the objective once, on a batch of two."""
    rows = pipeline.first(self.data.train, 2, self.config.seed)
    step = self.step(0)
    batch = self._data["augment"](key, {k: jnp.asarray(v) for k, v in rows.items()})

    unborn = {name: teacher.start(None) for name, teacher in self._teachers.items()}

    def run(parts):
      return self.objective(parts, batch, step, self._bound(unborn, {}, parts))

    variables = dict(self.parts.init({"params": key, "dropout": key}, method=run))
    params = self._start_from(variables.pop("params"))
    return state_lib.TrainState(
      step=jnp.zeros([], jnp.int32),
      params=params,
      opt_state=self.optimizer.init(params),
      teacher={name: teacher.start(params) for name, teacher in self._teachers.items()},
      stats=variables,
      bad_step=jnp.full([], -1, jnp.int32),
    )

  def _bound(self, trees: dict, stats: dict, parts=None) -> types.SimpleNamespace:
    """Teachers ready to be called by an objective."""
    parts = self.parts if parts is None else parts
    bound = {name: self._teachers[name].bound(parts, tree, stats) for name, tree in trees.items()}
    return types.SimpleNamespace(**bound)

  def step(self, index) -> core.Step:
    """The Step number `index` (updates done before it)."""
    index = jnp.asarray(index, jnp.int32)
    key = jax.random.fold_in(jax.random.key(self.config.seed), index)
    return core.Step(key, index, index.astype(jnp.float32) / self.total_steps)

  def loss(self, params, batch: dict, step, teacher=None, stats=None):
    """Pure: (loss, metrics) of raw host or device arrays `batch` at `step` (a Step, or its
    index).
    """
    step = step if isinstance(step, core.Step) else self.step(step)
    if teacher is None:
      teacher = {name: teacher.start(params) for name, teacher in self._teachers.items()}
    batch = {k: jnp.asarray(v) for k, v in batch.items()}
    loss, (metrics, _) = self._forward(params, stats or {}, teacher, batch, step)
    return loss, metrics

  def _forward(self, params, stats, teacher, batch, step):
    batch = self._data["augment"](jax.random.fold_in(step.key, _AUGMENT), batch)
    teachers = self._bound(teacher, stats)
    outcome, changed = self.parts.apply(
      {"params": params, **stats},
      method=lambda parts: self.objective(parts, batch, step, teachers),
      rngs={"dropout": jax.random.fold_in(step.key, _DROPOUT)},
      mutable=list(stats),
    )
    return outcome.loss, (outcome.metrics, dict(changed))

  def update(self, state: state_lib.TrainState, batch: dict):
    """Pure: (state, metrics) after one training step."""
    kept = self.abstract_state()
    functions = update.StepFunctions(
      self._forward,
      self.optimizer,
      self._teachers,
      self._make_optimizer.keywords["learning_rate"],
      self.config.train.get("on_non_finite", "stop"),
      gather=functools.partial(mesh.all_gather_params, like=(kept.params, kept.teacher)),
      divide=functools.partial(mesh.shard_like, like=kept.params),
    )
    return update.update(functions, state, batch, self.step(state.step))

  def train(self, workdir: pathlib.Path, stop_at: int | None = None, probe=None):
    """Trains to the end, to step `stop_at`, or to the first signal: (state, facts).

    `probe`: state -> {name: evaluation}, evaluated every `train.probe_every` epochs.
    """
    return loop.train(self, workdir, stop_at, probe)

  # What was learnt.

  def encode(self, params, images, layer: int | None = None, pool: str | None = None, stats=None):
    """Latents of uint8 (or 0..1 float) images [b h w c], unmasked.

    `pool`: None [b n d], "mean" over patches [b d], "class" token [b d], "both" [b 2d].
    `layer`: 1 = after the first block, -1 or None = the last.
    """
    if jnp.issubdtype(images.dtype, jnp.floating):
      images = jnp.round(images * 255.0).astype(jnp.uint8)
    size = jnp.broadcast_to(jnp.asarray(images.shape[-3:-1], jnp.int32), (images.shape[0], 2))
    view = self.view({"image": images, "size": size})
    return self.body.pooled({"params": params, **(stats or {})}, view, layer, pool)

  @functools.cached_property
  def body(self) -> network.Body:
    """What encodes whole images, without weights."""
    return network.Body(self.config, self.mesh)

  def encoder(self, params, stats: dict) -> network.Network:
    """encode(batch, layer=None, pool="mean", ...) -> numpy features; compiled once for all
    parameters.
    """
    return network.Network(self.body, {"params": params, **stats})

  def pixels(self):
    """The baseline that learns nothing: encode(batch) -> the viewed image as one vector [b e]."""
    return self.body.pixels

  def look(self, state: state_lib.TrainState, function):
    """function(parts, encode, batch) with this state, for raw batches: compiled, on the host."""

    def run(params, stats, batch):
      return self.parts.apply(
        {"params": params, **stats},
        method=lambda parts: function(parts, self.body.encode, self.view(batch)),
      )

    compiled = jax.jit(run)
    return lambda batch: jax.device_get(compiled(state.params, state.stats, batch))

  def pictures(self, state: state_lib.TrainState, batch: dict, step=0):
    """Draws what the objective makes of a raw batch, as at the end of training; None without a
    painter.
    """
    if self._painter is None:
      return None

    def run(state, batch, step):
      viewed, teachers = self.view(batch), self._bound(state.teacher, state.stats)
      last = dataclasses.replace(self.step(step), progress=jnp.ones([], jnp.float32))
      outcome = self.parts.apply(
        {"params": state.params, **state.stats},
        method=lambda parts: self.objective(parts, viewed, last, teachers),
      )
      return self._painter(viewed, outcome)

    return jax.jit(run)(state, batch, step)


def build(config) -> Experiment:
  """The experiment that `config` describes."""
  return Experiment(config)
