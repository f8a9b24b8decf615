"""iBOT's objective, by its authors' code: two steps, with centres between them; see golden/README.md."""

import functools
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, losses, schedules
from mim_jax.config import get_config, part
from mim_jax.methods import ibot
from mim_jax.weights import layouts, published, table
from mim_jax.weights import parts as parts_lib
from mim_jax.weights.layouts import base

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "ibot_objective.npz")
NOTE = json.loads(GOLDEN["note"].tobytes())
B, CELLS, EPOCHS = 3, 16, 6
WHERE = "ibot", "the authors' code"


def drawn(rows, seed):
  random, arrays = np.random.default_rng(seed), {}
  for name, shape, kind in rows:
    x = random.normal(scale=0.2, size=shape).astype(np.float32)
    arrays[name] = np.asarray(x + 1 if kind == "one" else x, np.float32)
  return published.read(base.Source(arrays, {}, {}, dict(heads=2)))


def views():
  """(batch, the hidden cells of both large views)."""
  random = np.random.default_rng(NOTE["seeds"][2])
  large = [random.normal(size=(B, 32, 32, 3)).astype(np.float32) for _ in range(2)]
  small = random.normal(size=(B, 2, 16, 16, 3)).astype(np.float32)
  hidden = [np.stack([random.permutation(CELLS) < n for n in counts]) for counts in NOTE["hidden"]]
  return dict(image=large[0], other=large[1], local=small), hidden


def masked(tokens, hidden):
  """The mask of these cells, padded to six."""
  order = np.argsort(~hidden, 1, kind="stable").astype(np.int32)
  count = hidden.sum(1, keepdims=True)
  weight = (np.arange(6)[None] < count).astype(np.float32)[:, None]
  valid = np.arange(CELLS)[None] < CELLS - count
  visible = np.where(valid, order[:, ::-1], order[:, -1:])
  return core.make_mask(tokens, *map(jnp.asarray, (visible, order[:, :6], weight, valid)))


@pytest.fixture(scope="module")
def steps():
  """Of two steps [(loss, metrics, centres, gradients by their names)]."""
  (variables, config), (slow, _) = (drawn(NOTE[n], NOTE["seeds"][i]) for i, n in enumerate(NAMES))
  config.parts.class_targets = config.parts.patch_targets = part(ibot.CenteredTargets)
  module, (batch, hidden) = parts_lib.parts_of(config), views()
  rising = functools.partial(
    schedules.linear, start=0.04, end=0.07, end_at=2 / EPOCHS, step_per_epoch=6
  )

  def loss(params, centres, progress):
    gone = iter(hidden)
    objective = functools.partial(
      ibot.distill_views,
      mask=lambda key, tokens, progress: masked(tokens, next(gone)),
      loss=functools.partial(losses.soft_cross_entropy, temperature=0.1),
      temperature=rising,
      patch_temperature=rising,
    )
    step = core.Step(jax.random.key(0), jnp.zeros([], jnp.int32), progress)
    teachers = types.SimpleNamespace(ema=module.bind({"params": slow["params"]}))
    outcome, found = module.apply(
      {"params": params, **centres},
      method=lambda parts: objective(parts, jax.tree.map(jnp.asarray, batch), step, teachers),
      mutable=["centres"],
    )
    return outcome.loss, (outcome.metrics, found)

  fast = dict(xla_backend_optimization_level=0, xla_llvm_disable_expensive_passes=True)
  zero = {f"{name}_targets": {"centre": jnp.zeros(12)} for name in ("class", "patch")}
  centres, found = {"centres": zero}, []
  update = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=fast)
  for epoch in range(2):
    (cost, (metrics, centres)), slope = update(variables["params"], centres, epoch / EPOCHS)
    found.append((cost, metrics, centres["centres"], named(slope, config)))
  return found


NAMES = ("student", "teacher")


def named(slope, config):
  """Gradients by their names."""
  flat = {k: np.asarray(x) for k, x in parts_lib.flat({"params": slope}).items()}
  layout = next(x for x in layouts.ALL if x.name == config.source.layout)
  shapes = {k: x.shape for k, x in flat.items()}
  return table.to_theirs(table.pairs(layout.table, shapes, published.rules_for(config)), flat)


def near(found, expected, largest=None):
  largest = np.abs(expected).max() if largest is None else largest
  deviation = np.abs(np.asarray(found) - expected).max() / largest
  assert deviation < 1e-4
  return deviation


def test_losses_and_centres_of_two_steps(steps, record):
  for i, (cost, metrics, centres, _) in enumerate(steps):
    told = dict(loss=cost, cls=metrics["class_loss"], patch=metrics["patch_loss"])
    for name, value in NOTE["steps"][i].items():
      record("ibot, objective", WHERE[1], "loss", near(told[name], np.float32(value)))
    for name, theirs in (("class", "center"), ("patch", "center2")):
      expected = GOLDEN[f"{theirs}/{i}"].reshape(-1)
      record(
        "ibot, objective", WHERE[1], "forward", near(centres[f"{name}_targets"]["centre"], expected)
      )


def test_gradients_of_every_parameter(steps, record):
  gradients = {k.removeprefix("grad/"): GOLDEN[k] for k in GOLDEN if k.startswith("grad/")}
  ours = steps[1][3]
  assert ours.keys() == gradients.keys() and "masked_embed" in str(ours.keys())
  scale = max(x[0] for x in gradients.values())
  for name, value in gradients.items():
    x = ours[name].reshape(-1)
    places = np.linspace(0, x.size - 1, min(128, x.size)).astype(int)
    if value[0] > 1e-6 * scale:
      deviation = max(near(x[places], value[1:], value[0]), near(np.abs(x).max(), value[0]))
      record("ibot, objective", WHERE[1], "gradient", deviation)
    else:
      assert np.abs(x).max() < 1e-5 * scale, name


def test_the_teachers_temperature_rises_from_epoch_to_epoch(record):
  """At the first, a middle and the last step of each of the first forty epochs of the S recipe."""
  config = get_config("ibot", "size=S,dataset=folder,path=photos")
  node = config.objective.temperature
  settings = {k: node[k] for k in ("start", "end", "end_at", "step_per_epoch")}
  epochs, steps = 800, 1251
  for share in (0, 600, 1250):
    index = np.arange(40) * steps + share
    found = schedules.linear(jnp.asarray(index / (epochs * steps), jnp.float32), **settings)
    deviation = np.abs(np.asarray(found) - GOLDEN["temperature"]).max() / 0.07
    assert deviation < 1e-5
    record("ibot, objective", WHERE[1], "schedule", deviation)
