"""What is trained of a config: init, update and loss, pure functions of state and batch."""

import functools

import jax
import jax.numpy as jnp

from mim_jax import core
from mim_jax.data import pipeline
from mim_jax.devices import mesh
from mim_jax.experiment.spec import Spec
from mim_jax.train import state as state_lib
from mim_jax.train import update

# A step's key is split by use, so that an objective may draw from `step.key` as it likes.
_AUGMENT, _DROPOUT = 1, 2


class Trainable:
  """The state of a run and what changes it.

  Attributes:
    spec: what it was built from.
  """

  def __init__(self, spec: Spec):
    """Takes what the attributes say."""
    self.spec = spec

  def init(self, key) -> state_lib.TrainState:
    """Draws the state before the first step, placed on the mesh."""
    return self._compiled_init(key)

  @functools.cached_property
  def _compiled_init(self):
    shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state())
    return jax.jit(self._init, out_shardings=shardings)

  @functools.cache  # noqa: B019 - it lives as long as its run
  def abstract_state(self):
    """Finds shapes and places of the state, without making it."""
    spec = self.spec
    shapes = jax.eval_shape(self._init, jax.random.key(0))
    places = mesh.state_sharding(shapes, spec.mesh, spec.config.train.sharding)
    return jax.tree.map(
      lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p), shapes, places
    )

  def _init(self, key) -> state_lib.TrainState:
    """Parameters come into being by running the objective once, on a batch of two."""
    spec = self.spec
    rows = pipeline.first(spec.data.train, 2, spec.config.seed)
    step = spec.step(0)
    batch = spec.augment(key, {k: jnp.asarray(v) for k, v in rows.items()})
    unborn = {name: teacher.init(None) for name, teacher in spec.teachers.items()}

    def run(parts):
      return spec.objective(parts, batch, step, spec.bind_teachers(unborn, {}, parts))

    variables = dict(spec.parts.init({"params": key, "dropout": key}, method=run))
    params = spec.start_from(variables.pop("params"))
    return state_lib.TrainState(
      step=jnp.zeros([], jnp.int32),
      params=params,
      opt_state=spec.optimizer.init(params),
      teacher={name: teacher.init(params) for name, teacher in spec.teachers.items()},
      stats=variables,
      bad_step=jnp.full([], -1, jnp.int32),
    )

  def loss(self, params, batch: dict, step, teacher=None, stats=None):
    """Computes (loss, metrics) of raw arrays `batch` at `step` (a Step, or its index)."""
    spec = self.spec
    step = step if isinstance(step, core.Step) else spec.step(step)
    if teacher is None:
      teacher = {name: teacher.init(params) for name, teacher in spec.teachers.items()}
    batch = {k: jnp.asarray(v) for k, v in batch.items()}
    loss, (metrics, _) = self.forward(params, stats or {}, teacher, batch, step)
    return loss, metrics

  def forward(self, params, stats, teacher, batch, step):
    """Computes (loss, (metrics, stats)) of a raw batch, as the update differentiates it."""
    spec = self.spec
    batch = spec.augment(jax.random.fold_in(step.key, _AUGMENT), batch)
    teachers = spec.bind_teachers(teacher, stats)
    outcome, changed = spec.parts.apply(
      {"params": params, **stats},
      method=lambda parts: spec.objective(parts, batch, step, teachers),
      rngs={"dropout": jax.random.fold_in(step.key, _DROPOUT)},
      mutable=list(stats),
    )
    return outcome.loss, (outcome.metrics, dict(changed))

  def update(self, state: state_lib.TrainState, batch: dict):
    """Computes (state, metrics) after one training step."""
    kept, spec = self.abstract_state(), self.spec
    functions = update.StepFunctions(
      self.forward,
      spec.optimizer,
      spec.teachers,
      spec.make_optimizer.keywords["learning_rate"],
      spec.config.train.get("on_non_finite", "stop"),
      gather=functools.partial(mesh.all_gather_params, like=(kept.params, kept.teacher)),
      divide=functools.partial(mesh.shard_like, like=kept.params),
    )
    return update.update(functions, state, batch, spec.step(state.step))
