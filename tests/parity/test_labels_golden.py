"""Training on labels against steps recorded from the authors' MAE code: see golden/README.md."""

import dataclasses
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.data.image import sources
from mim_jax.evaluate import network
from mim_jax.evaluate.trained import recipes, supervised, tuning
from mim_jax.weights import export, files, published

FOLDER = pathlib.Path(__file__).parent / "golden"
GOLDEN = FOLDER / "mae_labels.npz"
WHERE = "the authors' code"
CLASSES, SAMPLES, STEPS = 5, 128, 5


@pytest.fixture(scope="module")
def golden():
  return dict(np.load(GOLDEN))


def apart(found, recorded):
  """The largest difference over the largest recorded value, or over 0.01 where that is more."""
  return np.abs(found - recorded).max() / max(np.abs(recorded).max(), 1e-2)


def test_lars_takes_the_recorded_steps(golden, record):
  rates = golden["lars/rates"]
  transform = recipes.lars(lambda count: jnp.asarray(rates)[count], decay=0.01, trust=0.01)
  params = {str(i): jnp.asarray(golden[f"lars/start/{i}"]) for i in range(4)}
  state = transform.init(params)
  for step in range(len(rates)):
    gradient = {k: jnp.asarray(golden[f"lars/grad/{step}/{k}"]) for k in params}
    updates, state = transform.update(gradient, state, params)
    params = jax.tree.map(jnp.add, params, updates)
    for name, value in params.items():
      recorded = golden[f"lars/after/{step}/{name}"]
      np.testing.assert_allclose(value, recorded, rtol=2e-6, atol=2e-7)
      record("lars", WHERE, "steps", apart(value, recorded))


KINDS = [("finetune", "fine-tuning", 1e-6), ("linear", "linear probe", 0.0)]


@pytest.mark.parametrize(("kind", "name", "end"), KINDS)
def test_rates_are_the_recorded_ones(golden, record, kind, name, end):
  note, recorded = json.loads(str(golden[f"{kind}/note"])), golden[f"{kind}/rates"]
  speed = recipes.schedule(note["lr"], note["steps"], note["warmup"], end=end)
  deviation = apart(np.asarray([speed(i) for i in range(len(recorded))]), recorded)
  assert deviation < 1e-6
  record(f"mae, {name}", WHERE, "schedule", deviation)


def test_rates_fall_from_their_peak_as_recorded(record):
  names = "lr", "peak_lr", "min_lr", "warmup_epochs", "epochs", "iters_per_epoch"
  with np.load(FOLDER / "adamw.npz") as file:
    recorded, peak, end, warmup, epochs, each = (file[f"long/{name}"] for name in names)
  speed = recipes.schedule(float(peak), int(epochs * each), float(warmup * each), float(end))
  found = np.asarray([speed(i) for i in range(len(recorded))])
  deviation = np.abs(found - recorded).max() / peak
  assert deviation < 1e-6
  record("mae, fine-tuning", WHERE, "schedule", deviation)


def drawn(note):
  random, arrays = np.random.default_rng(note["seed"]), {}
  for name, shape, kind in note["rows"]:
    x = random.normal(scale=0.2, size=shape).astype(np.float32)
    arrays[name] = x + 1 if kind == "one" else x
  return arrays


def batch(step):
  random = np.random.default_rng(100 + step)
  image = random.normal(size=(8, 32, 32, 3)).astype(np.float32)
  shares = np.exp(random.normal(size=(8, CLASSES)))
  soft = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
  return image, soft, np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, 8)]


def imported(arrays):
  """(network, head parameters) of arrays by timm's names."""
  arrays = dict(arrays)
  head = {"classifier": {"kernel": arrays.pop("head.weight").T, "bias": arrays.pop("head.bias")}}
  if "fc_norm.weight" in arrays:
    head["norm"] = {"scale": arrays.pop("fc_norm.weight"), "bias": arrays.pop("fc_norm.bias")}
    arrays |= {"norm.weight": np.ones(48, np.float32), "norm.bias": np.zeros(48, np.float32)}
  source = files.source(GOLDEN, arrays, dict(heads=2, image=32))
  variables, config = published.read(source)
  return network.Encoder(network.EncoderProgram(config), variables), head


def theirs(params, config, folder):
  """Ours, flat (weights or gradients), by timm's names."""
  tree = supervised.unflat(params)
  head = tree.pop("head")
  tree["encoder"].setdefault("norm", {"scale": np.zeros(48), "bias": np.zeros(48)})
  export.write(folder, {"params": tree}, config, format="timm", note={})
  found, _ = files.arrays(folder / export.FILE)
  found |= {"head.weight": head["classifier"]["kernel"].T, "head.bias": head["classifier"]["bias"]}
  if "norm" in head:
    found |= {"fc_norm.weight": head["norm"]["scale"], "fc_norm.bias": head["norm"]["bias"]}
  return found


def sampled(x):
  x = np.asarray(x, np.float32).reshape(-1)
  index = np.linspace(0, x.size - 1, min(SAMPLES, x.size)).astype(int)
  return np.concatenate([[np.abs(x).max()], x[index]])


def data():
  source = sources.Arrays(np.zeros((4, 2, 2), np.uint8), np.arange(4), tuple("abcde"))
  return types.SimpleNamespace(train=source, test=source)


def started(net, head, recipe, note, others=None):
  """(state, fixed, transform, rates) before the first step, with the recorded schedule."""
  view = {"image": jnp.asarray(batch(0)[0])}
  flat = supervised.flat(supervised.met(net, jax.random.key(0), view))
  flat |= supervised.flat({"head": head})
  transform, rates = recipe.optimizer(flat, note["steps"], 1, 256)
  learns = {k: jnp.asarray(v) for k, v in flat.items() if np.any(np.asarray(rates[k]))}
  state = dict(params=learns, average=learns, head=others or {}, optimizer=transform.init(learns))
  return state, {k: jnp.asarray(v) for k, v in flat.items() if k not in learns}, transform, rates


def stepped(net, recipe, state, fixed, transform, targets):
  """The losses of the steps, and the last state."""
  step = jax.jit(
    lambda s, b, k: supervised.step(
      s, fixed, {}, b, k, program=net.program, recipe=recipe, transform=transform
    )
  )
  losses = []
  for i, target in enumerate(targets):
    view = {"image": jnp.asarray(batch(i)[0]), "target": jnp.asarray(target)}
    state = step(state, view, jax.random.key(i))
    losses.append(float(state.pop("loss")))
  return losses, state


def test_fine_tuning_takes_the_recorded_steps(golden, tmp_path, record):
  note = json.loads(str(golden["finetune/note"]))
  net, head = imported(drawn(note))
  config = net.program.config
  settings = dict(rate=note["lr"], warmup=note["warmup"], layer_decay=note["layer_decay"])
  settings |= dict(weight_decay=0.05, drop_path=0.0, b2=0.999, blocks=None, pool="mean", ema=0.0)
  net, recipe = tuning.tuned(net, data(), **settings, epochs=1.0, batch_size=8, smoothing=0.1)
  recipe = dataclasses.replace(recipe, augment=lambda key, view: view)
  state, fixed, transform, rates = started(net, head, recipe, note)
  assert not fixed
  row = "mae, fine-tuning", WHERE

  scales = json.loads(str(golden["finetune/scales"]))
  ours = theirs(
    {k: np.full(state["params"][k].shape, rates[k]) for k in rates}, config, tmp_path / "s"
  )
  for name, (scale, _) in scales.items():
    np.testing.assert_allclose(ours[name], scale, rtol=1e-6, err_msg=name)
    record(*row, "schedule", np.abs(ours[name] / scale - 1).max())

  def loss(params):
    tree = supervised.unflat(params)
    head = {"params": tree.pop("head")}
    found = net.program.pooled({"params": tree}, {"image": jnp.asarray(batch(0)[0])}, pool="mean")
    return supervised.cross_entropy(recipe.head.apply(head, found), jnp.asarray(batch(0)[1]))

  gradient = theirs(jax.jit(jax.grad(loss))(state["params"]), config, tmp_path / "g")
  record(*row, "gradient", compare(golden, "finetune/grad/", gradient))
  losses, state = stepped(net, recipe, state, fixed, transform, [batch(i)[1] for i in range(STEPS)])
  np.testing.assert_allclose(losses, golden["finetune/losses"], rtol=1e-4)
  record(*row, "loss", np.abs(losses / golden["finetune/losses"] - 1).max())
  after = theirs(state["params"], config, tmp_path / "a")
  record(*row, "steps", compare(golden, "finetune/after/", after))


def compare(golden, prefix, found):
  """The largest deviation of all arrays, each of which is within 1e-4."""
  deviations = []
  names = [name.removeprefix(prefix) for name in golden if name.startswith(prefix)]
  assert len(names) > 30
  for name in names:
    recorded, ours = golden[prefix + name], sampled(found[name])
    if prefix.endswith("after/") and name.endswith("qkv.bias"):
      # The gradient of a bias of keys is 0 but for rounding, which Adam makes steps of.
      third = 1 + np.linspace(0, found[name].size - 1, SAMPLES).astype(int) // 48
      recorded, ours = (x[1:][third != 2] for x in (recorded, ours))
    deviations.append(apart(ours, recorded))
    assert deviations[-1] < 1e-4, name
  return max(deviations)


def test_the_linear_probe_takes_the_recorded_steps(golden, record):
  note = json.loads(str(golden["linear/note"]))
  net, head = imported(drawn(note))
  recipe = tuning.lars_recipe(
    net, data(), epochs=1.0, batch_size=8, rate=note["lr"], warmup=note["warmup"], pool="class"
  )
  recipe = dataclasses.replace(recipe, augment=lambda key, view: view)
  start = recipe.head.init(jax.random.key(0), jnp.zeros((2, 48)))
  others = {k: v for k, v in start.items() if k != "params"}
  state, fixed, transform, _ = started(net, head, recipe, note, others)
  assert set(state["params"]) == {"head/classifier/kernel", "head/classifier/bias"}
  losses, state = stepped(net, recipe, state, fixed, transform, [batch(i)[2] for i in range(STEPS)])
  np.testing.assert_allclose(losses, golden["linear/losses"], rtol=1e-4)
  row = "mae, linear probe", WHERE
  record(*row, "loss", np.abs(losses / golden["linear/losses"] - 1).max())
  kernel, bias = (state["params"][f"head/classifier/{name}"] for name in ("kernel", "bias"))
  np.testing.assert_allclose(kernel.T, golden["linear/after/head.weight"], atol=1e-4)
  np.testing.assert_allclose(bias, golden["linear/after/head.bias"], atol=1e-4)
  record(*row, "steps", apart(kernel.T, golden["linear/after/head.weight"]))
  record(*row, "steps", apart(bias, golden["linear/after/head.bias"]))
  running = state["head"]["batch_stats"]["norm"]
  np.testing.assert_allclose(running["mean"], golden["linear/running_mean"], atol=1e-5)
