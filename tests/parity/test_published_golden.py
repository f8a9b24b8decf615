"""Arrays recorded from the authors' own code and from timm: see golden/README.md. No torch needed.

The weights themselves are drawn again from their seed, in the order of their names.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, losses
from mim_jax.ops import patches, resize
from mim_jax.targets import pixels
from mim_jax.targets.latent import standardized
from mim_jax.weights import adapt, export, files, layouts, published, table
from mim_jax.weights import parts as parts_lib
from mim_jax.weights.layouts import base

GOLDEN = pathlib.Path(__file__).parent / "golden"
SIDE, BATCH, SAMPLES, CELLS = 32, 2, 128, 16
# case: file, layout, what no array says
CASES = {
  "vit": ("timm", "timm:vit", dict(heads=2)),
  "vit, registers": ("timm", "timm:vit", dict(heads=2)),
  "vit, clip": ("timm", "timm:vit", dict(heads=2)),
  "swin": ("timm", "timm:swin", dict(image=SIDE)),
  "resnet": ("timm", "timm:resnet", dict(image=SIDE)),
  "convnext": ("timm", "timm:convnext", dict(image=64)),
  "mae": ("mae", "mae:vit", dict(heads=2, decoder_heads=2, image=SIDE)),
  "ijepa": ("ijepa", "ijepa:vit", dict(heads=2, decoder_heads=2, image=SIDE)),
  "simmim swin": ("simmim", "simmim:swin", dict(image=SIDE)),
  "simmim vit": ("simmim", "simmim:vit", dict(heads=2, image=SIDE)),
  "videomae": ("videomae", "videomae:vit", dict(heads=2, decoder_heads=2, image=SIDE)),
  "ibot": ("ibot", "ibot:vit", dict(heads=2)),
  "dinov2": ("dinov2", "dinov2:mlp", dict(heads=2)),
  "dinov2, swiglu and registers": ("dinov2", "dinov2:swiglu", dict(heads=2)),
}


def images(side=SIDE):
  return np.random.default_rng(5).normal(size=(BATCH, side, side, 3)).astype(np.float32)


def direction(shape):
  return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def hidden():
  random = np.random.default_rng(11)
  return np.stack([random.permutation(CELLS) < 3 * CELLS // 4 for _ in range(BATCH)])


def order(gone):
  index, v = np.argsort(gone, 1, kind="stable"), int((~gone[0]).sum())
  return jnp.asarray(index[:, :v], jnp.int32), jnp.asarray(index[:, v:], jnp.int32)


def masked(tokens, gone):
  return core.make_mask(tokens, *order(gone))


def drawn(note, fixed):
  """The weights as the recorder drew them."""
  random, arrays = np.random.default_rng(note["seed"]), dict(fixed)
  for name, shape, kind in note["rows"]:
    if kind != "fixed":
      x = random.normal(scale=0.2, size=shape).astype(np.float32)
      x = np.abs(x) + 0.5 if kind == "variance" else x + 1 if kind == "one" else x
      arrays[name] = np.asarray(x, np.float32)
  return arrays


def whole(latents):
  return jnp.concatenate([latents.prefix, latents.values], 1)


def probe(x):
  return jnp.mean(x * direction(x.shape))


def plain(parts):
  side = 64 if "widths" in parts.encoder.__dataclass_fields__ else SIDE
  found = whole(parts.encoder(parts.tokenizer(jnp.asarray(images(side)))))
  return dict(features=found), probe(found)


def masked_features(parts):
  tokens = parts.tokenizer(jnp.asarray(images()))
  found = whole(parts.encoder(tokens, masked(tokens, hidden())))
  return dict(features=found), probe(found)


def mae(parts):
  image = jnp.asarray(images())
  tokens = parts.tokenizer(image)
  mask = masked(tokens, hidden())
  found = parts.predictor(parts.encoder(tokens, mask), mask)
  wanted = core.take(pixels({"image": image}, patch=8, normalize=True), mask.masked)
  return dict(predictions=found[:, 0]), core.weighted_mean(
    losses.squared_error(found, wanted), mask.weight
  )


def ijepa(parts):
  """Two groups of targets, of five cells each; the encoder is its own teacher here."""
  tokens = parts.tokenizer(jnp.asarray(images()))
  visible, gone = order(hidden())
  mask = core.make_mask(tokens, visible, jnp.stack([gone[:, :5], gone[:, 4:9]], 1))
  latents = parts.encoder(tokens, mask)
  found = parts.predictor(latents, mask)
  targets = jax.lax.stop_gradient(standardized(parts.encoder(tokens).values))
  targets = core.take(targets, mask.masked)
  groups = lambda x: jnp.concatenate([x[:, 0], x[:, 1]])
  outputs = dict(context=latents.values, predictions=groups(found), targets=groups(targets))
  return outputs, core.weighted_mean(losses.smooth_l1(found, targets), mask.weight)


def simmim(parts):
  image = jnp.asarray(images())
  tokens = parts.tokenizer(image)
  side = tokens.grid[0]
  gone = hidden().reshape(BATCH, 4, 4).repeat(side // 4, 1).repeat(side // 4, 2).reshape(BATCH, -1)
  every = jnp.broadcast_to(jnp.arange(side**2)[None, None], (BATCH, 1, side**2))
  mask = core.make_mask(tokens, order(gone)[0], every)
  found = parts.predictor(parts.encoder(tokens, mask), mask)
  wanted = pixels({"image": image}, patch=SIDE // side, normalize=False)[:, None]
  loss = core.weighted_mean(
    losses.absolute_error(found, wanted), jnp.asarray(gone, jnp.float32)[:, None]
  )
  made = patches.unpatchify(found[:, 0], tokens.grid, SIDE // side)
  return dict(predictions=made.transpose(0, 3, 1, 2)), loss


def videomae(parts):
  clip = jnp.stack([jnp.asarray(images()) * (1 + 0.05 * i) for i in range(16)], 1)
  tokens = parts.tokenizer(clip)
  mask = masked(tokens, np.concatenate([hidden()] * 8, 1))
  found = parts.predictor(parts.encoder(tokens, mask), mask)[:, 0]
  return dict(predictions=found), probe(found)


RUNS = {
  "mae": mae,
  "ijepa": ijepa,
  "simmim swin": simmim,
  "simmim vit": simmim,
  "videomae": videomae,
  "ibot": masked_features,
  "dinov2": masked_features,
  "dinov2, swiglu and registers": masked_features,
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
  """(name, layout, note, arrays, outputs, gradients by their names)."""
  file, layout, options = CASES[request.param]
  golden = np.load(GOLDEN / f"published_{file}.npz")
  own = {
    k.removeprefix(f"{request.param}/"): golden[k]
    for k in golden
    if k.startswith(f"{request.param}/")
  }
  note = json.loads(own["note"].tobytes())
  groups = [
    {k.removeprefix(group): x for k, x in own.items() if k.startswith(group)}
    for group in ("fixed/", "output/", "grad/")
  ]
  source = base.Source(drawn(note, groups[0]), note, {}, options)
  return request.param, layout, note, source, *groups[1:]


def near(found, expected, largest=None):
  largest = np.abs(expected).max() if largest is None else largest
  assert largest > 0
  deviation = np.abs(np.asarray(found) - expected).max() / largest
  assert deviation < 1e-4
  return deviation


def test_outputs_loss_and_gradients(case, record):
  name, layout, note, source, outputs, gradients = case
  reference = "timm" if layout.startswith("timm") else "the authors' code"
  seen = functools.partial(record, name, reference)
  variables, config = published.read(source)
  assert config.source.layout == layout
  module, run = parts_lib.parts_of(config), RUNS.get(name, plain)

  def step(params):
    found, loss = module.apply({**variables, "params": params}, method=run)
    return loss, found

  fast = dict(xla_backend_optimization_level=0, xla_llvm_disable_expensive_passes=True)
  step = jax.jit(jax.value_and_grad(step, has_aux=True), compiler_options=fast)
  (loss, found), ours = step(variables["params"])
  if name == "mae":  # theirs are of all tokens
    gone = np.asarray(order(hidden())[1])[..., None]
    outputs = dict(predictions=np.take_along_axis(outputs["predictions"], gone, 1))
  for key, value in outputs.items():
    seen("forward", near(found[key], value))
  assert abs(float(loss) - note["loss"]) < 1e-4 * abs(note["loss"])
  seen("loss", abs(float(loss) - note["loss"]) / abs(note["loss"]))
  seen("gradient", compare(theirs(config, {**variables, "params": ours}), gradients))


def theirs(config, variables):
  """Our arrays by their names."""
  flat = parts_lib.flat(jax.device_get(variables))
  layout = next(x for x in layouts.ALL if x.name == config.source.layout)
  fixed = published.computed(layout, config)
  shapes = {k: x.shape for k, x in {**flat, **fixed}.items()}
  pairs = table.pairs(layout.table, shapes, published.rules_for(config))
  made = table.to_theirs(pairs, {**flat, **fixed})
  prefix = "" if "predictor" in config.parts else layout.prefix
  return {k.removeprefix(prefix): x for k, x in made.items()}


def compare(ours, gradients):
  """The largest deviation of a gradient."""
  if "reg_token" in ours:  # theirs has no position of the class token, ours one that is 0
    ours["pos_embed"] = ours["pos_embed"][:, 1:]
  worst = 0.0
  scale = max(x[0] for x in gradients.values())
  left = gradients.keys() - ours.keys()
  assert not [k for k in left if gradients[k][0] > 1e-6 * scale], left
  for name in gradients.keys() - left:
    value, x = gradients[name], ours[name].reshape(-1)
    places = np.linspace(0, x.size - 1, min(SAMPLES, x.size)).astype(int)
    if value[0] > 1e-6 * scale:
      worst = max(worst, near(x[places], value[1:], value[0]), near(np.abs(x).max(), value[0]))
    else:
      assert np.abs(x).max() < 1e-5 * scale, name
  return worst


def test_the_way_back_gives_the_same_arrays(case, tmp_path):
  """Every name and shape that their own network has, no more and no less."""
  _, layout, _, source, _, _ = case
  variables, config = published.read(source)
  assert not export.write(tmp_path, variables, config, format=layout, note={})
  again = files.arrays(files.locate(tmp_path))[0]
  assert {k: x.shape for k, x in again.items()} == source.shapes()
  for name, x in again.items():
    np.testing.assert_allclose(x, source.arrays[name], atol=1e-6)


@pytest.mark.parametrize("grid", [(6, 6), (3, 5)])
def test_positions_resize_as_in_timm(grid):
  golden = np.load(GOLDEN / "published_timm.npz")
  table = np.random.default_rng(8).normal(size=(1, 17, 6)).astype(np.float32)
  square = jnp.asarray(table[:, 1:]).reshape(1, 4, 4, 6)
  found = resize.bicubic(square, grid, antialias=True).reshape(1, -1, 6)
  near(found, golden[f"resample/positions {grid[0]} {grid[1]}"][:, 1:])


@pytest.mark.parametrize("patch", [12, 5])
def test_patch_kernels_resize_as_in_timm(patch):
  golden = np.load(GOLDEN / "published_timm.npz")
  found = adapt.with_patch(timm_kernel(), patch)
  near(found.transpose(3, 2, 0, 1), golden[f"resample/patch {patch}"])


@pytest.mark.parametrize("channels", [1, 5])
def test_patch_kernels_take_other_channels_as_in_timm(channels):
  golden = np.load(GOLDEN / "published_timm.npz")
  found = adapt.with_channels(timm_kernel(), channels)
  near(found.transpose(3, 2, 0, 1), golden[f"resample/channels {channels}"])


def timm_kernel():
  """[p p c d]."""
  drawn = np.random.default_rng(9).normal(size=(5, 3, 8, 8)).astype(np.float32)
  return drawn.transpose(2, 3, 1, 0)


def test_ibot_on_a_larger_image_resizes_its_positions_as_recorded():
  golden = np.load(GOLDEN / "published_ibot.npz")
  note = json.loads(golden["ibot/note"].tobytes())
  variables, config = published.read(base.Source(drawn(note, {}), {}, {}, dict(heads=2)))
  assert config.parts.encoder.positions.grid_offset == 0.1
  image = jnp.asarray(np.random.default_rng(5).normal(size=(BATCH, 48, 48, 3)), jnp.float32)
  found = parts_lib.parts_of(config).apply(
    jax.tree.map(jnp.asarray, variables),
    method=lambda parts: whole(parts.encoder(parts.tokenizer(image))),
  )
  near(found, golden["ibot/other grid"])
