"""Training of an encoder and a head on labels. Letters: b batch, k classes.

The loop that probes and fine-tuning share; the recipes are in tuning.py.
"""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from mim_jax.data import mixing, pipeline, skipping
from mim_jax.errors import InputError
from mim_jax.evaluate import features, network, numbers
from mim_jax.evaluate.frozen import logistic


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A recipe of training on labels.

  Attributes:
    head: the module behind the encoder, head(features, train) -> logits [b k].
    optimizer: optimizer(params, steps, steps of an epoch, batch size) -> (Optax transformation of
      flat {name: array}, learning rate scales by name; parameters with 0 throughout are frozen).
    augment: augment(key, batch) -> view with `target` [b k]; see data/image/mixup.py.
    key: identifies the recipe, so that nothing is compiled twice.
    epochs, batch_size: of the labelled training images; batches are no larger than what there is.
    pool, layer, last: the head's input, see network.Encoder.
    ema: momentum of the averaged weights that are evaluated, 0 for the last weights.
  """

  head: nn.Module
  optimizer: Callable
  augment: Callable
  epochs: float
  batch_size: int
  key: tuple
  pool: str = "mean"
  layer: int | None = None
  last: int = 1
  ema: float = 0.0


def accuracy(
  net: network.Encoder, data, seed: int, recipe: Recipe, **few
) -> dict[str, numbers.Number]:
  """Trains on the training images and measures top-1 accuracy on the test images.

  few: `per_class`, `share` of the labels, see logistic.few.
  """
  fitted = fit(net, data, seed, recipe, **few)
  return {"accuracy": numbers.Number(score(fitted, data.test, recipe))}


def fit(net: network.Encoder, data, seed: int, recipe: Recipe, **few) -> types.SimpleNamespace:
  """Trains by a recipe: the Encoder with its new weights, `net`, and the head's variables, `head`.

  NoLabels where images have none.
  """
  features.check_classes(data)
  source = labelled(data.train, seed, **few)
  batch_size = min(recipe.batch_size, len(source))
  per_epoch = len(source) // batch_size
  steps = max(1, round(recipe.epochs * per_epoch))
  keys = jax.random.split(jax.random.fold_in(jax.random.key(77), seed), 3)
  program = net.program
  view = program.view(two(source, seed))
  seen = program.pooled(net.variables, view, recipe.layer, recipe.pool, recipe.last)
  head = dict(recipe.head.init(keys[0], seen))
  params = flat(met(net, keys[1], view)) | flat({"head": head.pop("params")})
  transform, rates = recipe.optimizer(params, steps, per_epoch, batch_size)
  learns = {name for name, rate in rates.items() if np.any(np.asarray(rate))}
  trained = {name: jnp.array(value) for name, value in params.items() if name in learns}
  fixed = {name: jnp.asarray(value) for name, value in params.items() if name not in learns}
  others = {k: v for k, v in net.variables.items() if k != "params"}
  state = dict(params=trained, average=trained, head=head, optimizer=transform.init(trained))
  made = jax.jit(functools.partial(step, program=program, recipe=recipe, transform=transform))
  update = program.compiled.setdefault((recipe.key, steps, batch_size, source.classes), made)
  batches = pipeline.batches(source, batch_size, seed)
  try:
    for index in range(steps):
      key = jax.random.fold_in(keys[2], index)
      state = update(state, fixed, others, program.placed(next(batches)), key)
      value = state.pop("loss")
  finally:
    batches.close()
  if not np.isfinite(float(value)):
    raise InputError("training on labels diverged: its loss is not finite. Lower the rate.")
  tree = unflat((state["average"] if recipe.ema else state["params"]) | fixed)
  head = {"params": tree.pop("head"), **state["head"]}
  return types.SimpleNamespace(net=net.with_variables({"params": tree, **others}), head=head)


def step(state: dict, fixed, others, batch, key, *, program, recipe: Recipe, transform) -> dict:
  """Computes the state after one step (pure)."""
  drawn, dropped = jax.random.split(key)
  view = recipe.augment(drawn, batch)

  def loss(trained):
    tree = unflat(trained | fixed)
    head = {"params": tree.pop("head"), **state["head"]}
    variables = {"params": tree, **others}
    found = program.pooled(variables, view, recipe.layer, recipe.pool, recipe.last, dropped)
    logits, changed = recipe.head.apply(head, found, True, mutable=list(state["head"]))
    return cross_entropy(logits, view["target"]), dict(changed)

  (value, head), gradient = jax.value_and_grad(loss, has_aux=True)(state["params"])
  updates, optimizer = transform.update(gradient, state["optimizer"], state["params"])
  params = optax.apply_updates(state["params"], updates)
  average = jax.tree.map(
    lambda a, p: recipe.ema * a + (1 - recipe.ema) * p, state["average"], params
  )
  return dict(params=params, average=average, head=head, optimizer=optimizer, loss=value)


def cross_entropy(logits, target):
  """Computes the mean of -sum target log softmax(logits), both [b k], float32; soft targets too."""
  return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)), -1))


def score(fitted, source, recipe: Recipe, batch_size: int = 256) -> float:
  """Measures top-1 accuracy in [0, 1] on the labelled images of a source."""
  program = fitted.net.program

  def classes(variables, head, batch):
    found = program.pooled(variables, program.view(batch), recipe.layer, recipe.pool, recipe.last)
    logits: Any = recipe.head.apply(head, found)
    return jnp.argmax(logits, -1)

  classes = program.compiled.setdefault((recipe.key, source.classes), jax.jit(classes))
  right = total = 0
  for batch, count in pipeline.in_order(source, batch_size):
    found = np.asarray(classes(fitted.net.variables, fitted.head, program.placed(batch)))[:count]
    label = batch["label"][:count]
    right += int(np.sum((found == label) & (label >= 0)))
    total += int(np.sum(label >= 0))
  if not total:
    raise features.NoLabels("needs labels, and the test images have none")
  return right / total


def labelled(source, seed: int, per_class: int | None = None, share: float = 1.0):
  """Selects the images of a source that have a label, or a few of them, see logistic.few."""
  label = labels(source)
  known = np.flatnonzero(label >= 0)
  if not len(known):
    raise features.NoLabels("needs labels, and the training images have none")
  chosen = logistic.few(label[known], seed, per_class, share, source.classes)
  return mixing.Subset(source, known[chosen])


def labels(source) -> np.ndarray:
  """Collects labels of a source, int32 [n]; images are read where it has no list of labels."""
  try:
    return np.asarray(source.label)
  except AttributeError:
    return np.concatenate([b["label"][:count] for b, count in pipeline.in_order(source, 256)])


def two(source, seed: int) -> dict:
  """Reads two images of a source, as a raw batch."""
  return pipeline.first(skipping.SkipUnreadable(source), 2, seed)


def met(net: network.Encoder, key, view) -> dict:
  """Selects the parameters that encoding uses."""
  wanted: Any = jax.eval_shape(net.program.init, key, view)
  whole = flat(net.variables["params"])
  return unflat({name: whole[name] for name in flat(wanted["params"])})


def flat(tree) -> dict:
  """Flattens a nested dict to {'a/b': x}."""
  return traverse_util.flatten_dict(tree, sep="/")


def unflat(params: dict) -> dict:
  """Undoes `flat`."""
  return traverse_util.unflatten_dict(params, sep="/")
