"""How the promises of every method are looked at, and which programs are known to keep them."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from mim_jax import config as config_lib
from mim_jax import experiment as experiment_lib
from mim_jax.devices import program as program_lib
from mim_jax.ops import gather
from mim_jax.optim import rules

BATCH, STEPS = 16, 40
PROGRAMS = pathlib.Path(__file__).parent / "programs"
SOURCES = ("promises.py", "test_methods.py")


def small_config(method):
  config = config_lib.get_config(method, "dataset=embedded,size=nano")
  config.train.update(
    dict(steps=STEPS, epochs=None, batch_size=BATCH, log_every=5, checkpoint_every=20)
  )
  return config


@functools.lru_cache(maxsize=2)
def built(method, axis):
  """An experiment over `axis` devices along each axis of the mesh, its compiled update, a batch."""
  config = small_config(method)
  config.train.mesh.update(data=axis, fsdp=axis, tensor=axis)
  experiment = experiment_lib.build(config, devices=jax.devices()[: axis**3])
  batch = next(experiment.spec.batches())
  state = experiment.trainable.abstract_state()
  return experiment, program_lib.compile_update(experiment.trainable, state, batch), batch


@functools.lru_cache(maxsize=2)
def traced(method, dtype="float32"):
  """What is trained, and shapes of a batch: nothing is compiled."""
  config = small_config(method)
  config.train.dtype = dtype
  experiment = experiment_lib.build(config, devices=jax.devices()[:1])
  rows = experiment.spec.data.train[np.arange(BATCH)]
  shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in rows.items()}
  return experiment.trainable, shapes


def kinds(tree):
  """Structure, and shape, type and weak type of every leaf."""
  leaves, structure = jax.tree.flatten(tree)
  return structure, [(x.shape, x.dtype, x.weak_type) for x in leaves]


def loss_and_parameters(trainable, batch):
  """Shapes of the loss and of the parameters."""
  state = trainable.abstract_state()
  loss = jax.eval_shape(
    lambda s, b: trainable.loss(s.params, b, s.step, s.teacher, s.stats)[0], state, batch
  )
  return loss, state.params


def without_gradient(trainable, batch) -> tuple[list, list]:
  """(student parameters without a gradient path, teacher parameters with one), by name.

  What no path reaches comes out of the traced gradient as zeros that depend on no input.
  """
  state = trainable.abstract_state()

  def loss(params, teacher, stats, batch, step):
    return trainable.loss(params, batch, step, teacher, stats)[0]

  def gradients(*args):
    teacher = jax.tree.leaves(args[1])
    floats = all(jnp.issubdtype(x.dtype, jnp.floating) for x in teacher)
    numbers = (0, 1) if teacher and floats else (0,)
    return jax.grad(loss, argnums=numbers)(*args)

  args = (state.params, state.teacher, state.stats, batch, state.step)
  jaxpr = jax.make_jaxpr(gradients)(*args).jaxpr
  depends = set(jaxpr.invars)
  for equation in jaxpr.eqns:
    if any(isinstance(v, jex.Var) and v in depends for v in equation.invars):
      depends.update(equation.outvars)
  reached = [isinstance(v, jex.Var) and v in depends for v in jaxpr.outvars]
  student = [name for name, _ in rules.named_leaves(state.params)]
  teacher = [name for name, _ in rules.named_leaves(state.teacher)][: len(reached) - len(student)]
  missing = [n for n, r in zip(student, reached, strict=False) if not r]
  return missing, [n for n, r in zip(teacher, reached[len(student) :], strict=True) if r]


def stack_lengths(trainable, batch) -> list[tuple[int, int]]:
  """(tokens that the encoder's stack saw, tokens it should have), for each call with a mask.

  What it should have seen says the mask of the outcome, not the one that the encoder was given.
  """
  spec, state = trainable.spec, trainable.abstract_state()
  calls, inside = [], []

  def spy(call, args, kwargs, context):
    module = context.module
    if context.method_name == "__call__" and module.name == "encoder":
      mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
      inside.append((module, args[0].positions.shape[1], mask))
      given = call(*args, **kwargs)
      inside.pop()
      return given
    if context.method_name == "__call__" and module.name == "stack" and inside:
      encoder, n, mask = inside[-1]
      prefix = getattr(encoder, "class_tokens", 0) + getattr(encoder, "registers", 0)
      keeps = getattr(getattr(encoder, "masking", None), "keeps_grid", False)
      if mask is not None:
        calls.append((args[0].shape[1] - prefix, n if keeps else None))
    return call(*args, **kwargs)

  def run(params, teacher, stats, batch):
    step = spec.step(0)
    viewed, teachers = spec.augment(step.key, batch), spec.bind_teachers(teacher, stats)
    with nn.intercept_methods(spy):
      return spec.parts.apply(
        {"params": params, **stats},
        method=lambda parts: spec.objective(parts, viewed, step, teachers),
        rngs={"dropout": step.key},
        mutable=list(stats),
      )[0].mask

  mask = jax.eval_shape(run, state.params, state.teacher, state.stats, batch)
  return [(seen, mask.visible.shape[1] if n is None else n) for seen, n in calls]


class Leak(NamedTuple):
  """Latents of the masked signal, of one with other hidden and one with other visible content."""

  latents: object
  other_hidden: object
  other_visible: object
  seen: float


def leak(experiment, state, batch, when: int) -> Leak | None:
  """Encodes a batch at step `when`, and again with its hidden parts changed; None without a mask.

  Masks may follow what a teacher sees in the signal, so those of the first look are used again.
  What a corruption keeps as it was counts as seen.
  """
  spec = experiment.spec
  viewed, step = spec.view(batch), spec.step(when)

  def look(viewed, again=()):
    calls, masks, settings = [], [], spec.objective.keywords

    def draw(*args, **kwargs):
      masks.append(again[len(masks)] if again else settings["mask"](*args, **kwargs))
      return masks[-1]

    def spy(call, args, kwargs, context):
      latents = call(*args, **kwargs)
      if context.module.name == "encoder" and context.method_name == "__call__":
        mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
        calls.append((mask is not None, latents))
      return latents

    def objective(parts):
      teachers = spec.bind_teachers(state.teacher, state.stats)
      with nn.intercept_methods(spy):
        drawing = {"mask": draw} if "mask" in settings else {}
        return spec.objective(parts, viewed, step, teachers, **drawing)

    variables = {"params": state.params, **state.stats}
    outcome, _ = spec.parts.apply(
      variables, method=objective, mutable=list(state.stats), rngs={"dropout": step.key}
    )
    masked = [latents for given, latents in calls if given] or [calls[-1][1]]
    return outcome, masked[0], masks

  outcome, latents, masks = jax.jit(look)(viewed)
  if outcome.mask is None:
    return None
  mask = outcome.mask
  seen = gather.member(mask.visible, mask.positions.shape[1], mask.valid)
  if "kept" in outcome.more:
    seen = seen | outcome.more["kept"]
  modality = spec.modality
  if "entry" in spec.objective.keywords:  # a view of its own may be what is masked
    modality = dataclasses.replace(modality, entry=spec.objective.keywords["entry"])
  change = functools.partial(modality.change, jax.random.key(5))
  hidden, visible = change(viewed, seen, mask.grid), change(viewed, ~seen, mask.grid)
  other = [jax.jit(look)(x, masks)[1] for x in (hidden, visible)]
  return Leak(latents, *other, float(jnp.mean(seen)))


# Which programs are known.


def digest(method: str) -> str:
  """Hash of the lowered update and init, of XLA's flags and of the promises' own source."""
  trainable, batch = traced(method)
  state, total = trainable.abstract_state(), hashlib.sha256()
  update = jax.jit(trainable.update).lower(state, batch).as_text()
  init = jax.jit(trainable._init).lower(jax.random.key(0)).as_text()
  sources = [(PROGRAMS.parent / name).read_text() for name in SOURCES]
  for text in (update, init, os.environ.get("XLA_FLAGS", ""), *sources):
    total.update(text.encode())
  return total.hexdigest()[:32]


def known(method: str) -> bool:
  """Whether this very program kept all compiled promises once; FULL=1 believes nothing."""
  file = PROGRAMS / f"{method}.json"
  if os.environ.get("FULL") or not file.exists():
    return False
  return json.loads(file.read_text()).get(jax.__version__) == digest(method)


def remember(method: str) -> None:
  """Writes that this program kept them."""
  PROGRAMS.mkdir(exist_ok=True)
  file = PROGRAMS / f"{method}.json"
  found = json.loads(file.read_text()) if file.exists() else {}
  found[jax.__version__] = digest(method)
  file.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
