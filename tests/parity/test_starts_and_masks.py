"""How our configs start and mask, against draws recorded from the references: golden/README.md."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, masks, schedules
from mim_jax.masks import block
from mim_jax.ops import positions
from mim_jax.weights import export, layouts, parts, published, table

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "starts_and_masks.npz")
DRAWS = 10_000
SMALL = dict(depth=2, heads=3)
DECODER = dict(width=128, depth=1, heads=4)
# case: config, its argument, layout, what is smaller than published
CASES = {
  "mae": ("mae", "size=B", "mae:vit", SMALL, DECODER),
  "ijepa": ("ijepa", "size=B", "ijepa:vit", SMALL, DECODER | dict(target_width=192)),
  "simmim vit": ("simmim", "size=B", "simmim:vit", SMALL, {}),
  "simmim swin": (
    "simmim",
    "size=B,encoder=swin",
    "simmim:swin",
    dict(depths=(2, 2), heads=(3, 6)),
    dict(cell=2),
  ),
  "videomae": ("videomae", "size=B", "videomae:vit", SMALL, DECODER),
  "beit": ("beit", "size=B", "beit:vit", SMALL, dict(target_width=512)),
  "ibot": ("ibot", "size=B", "ibot:vit", SMALL, {}),
  "resnet": ("spark", "size=B,network=resnet50", "timm:resnet", dict(depths=(1, 2), patch=8), {}),
  "convnext": (
    "spark",
    "size=B,network=convnext_s",
    "timm:convnext",
    dict(depths=(1, 1, 1, 1), widths=(64, 64, 128, 128)),
    {},
  ),
}


def small_config(case):
  """The published config, with fewer and narrower layers."""
  method, arg, name, encoder, predictor = CASES[case]
  config = config_lib.get_config(method, arg).copy_and_resolve_references()
  config.unlock()
  layout = next(x for x in layouts.ALL if x.name == name)
  kept = ("tokenizer", "encoder", "predictor")[: 2 + (export.held(layout, config) == "predictor")]
  config.parts = {part: config.parts[part] for part in kept}
  if "width" in config.parts.tokenizer:
    config.parts.tokenizer.width = 96 if "swin" in case else 192
  else:
    config.parts.tokenizer.patch = encoder.get("patch", config.parts.tokenizer.patch)
  config.parts.encoder.update(encoder)
  if "predictor" in kept:
    config.parts.predictor.update(predictor)
  return config, layout


def started(config):
  """All arrays as the config draws them, by our names."""
  module = parts.parts_of(config)
  shape = (1, *config.data.view.size, 3)
  if "tubelet" in config.parts.tokenizer:
    shape = (1, config.parts.tokenizer.tubelet, *config.data.view.size, 3)

  def run(parts):
    tokens = parts.tokenizer(jnp.zeros(shape))
    index = jnp.arange(tokens.positions.shape[1])[None]
    mask = core.make_mask(tokens, index[:, : index.size // 2], index[:, index.size // 2 :])
    latents = parts.encoder(tokens, mask)
    return parts.predictor(latents, mask) if "predictor" in config.parts else latents

  draw = jax.jit(lambda key: module.init(key, method=run), compiler_options=FAST)
  return parts.flat(jax.device_get(draw(jax.random.key(1))))


FAST = dict(xla_backend_optimization_level=0, xla_llvm_disable_expensive_passes=True)


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
  """(case, our start by their names)."""
  config, layout = small_config(request.param)
  ours = started(config)
  if layout.fused:
    ours, config = export.fused_biases(ours, config)
  fixed = published.computed(layout, config)
  shapes = {k: x.shape for k, x in {**ours, **fixed}.items()}
  made = table.to_theirs(
    table.pairs(layout.table, shapes, published.rules_for(config)), {**ours, **fixed}
  )
  return request.param, made


def test_every_array_starts_from_the_reference_distribution(drawn, record):
  case, ours = drawn
  recorded = {k.split("/", 2)[2]: GOLDEN[k] for k in GOLDEN if k.startswith(f"init/{case}/")}
  assert len(recorded) > 10
  checked, reference = 0, "timm" if case in ("resnet", "convnext") else "the authors' code"
  for name, stored in recorded.items():
    if name not in ours:
      continue
    gap = alike(case, name, np.asarray(ours[name], np.float64).reshape(-1), stored)
    record(case, reference, "init", gap)
    checked += 1
  missing = [k for k in recorded if k not in ours and not k.endswith(EXTRA)]
  assert not missing and checked > 10


# Parts that nothing of ours holds.
EXTRA = ("head.weight", "head.bias", "norm_pre.weight", "head.norm.weight", "head.norm.bias")


def alike(case, name, x, stored):
  """The same deviation, range and distribution as the recorded draw, as far as chance allows."""
  size, mean, deviation, *quantiles = (float(v) for v in stored)
  where = case, name
  assert x.size == size, where
  if deviation < 1e-9:
    assert np.allclose(x, mean, atol=1e-9), where
    return 0.0
  slack = 5 * np.sqrt(1 / size)  # of a deviation, both being drawn
  assert abs(x.std() / deviation - 1) < slack, (*where, x.std(), deviation)
  assert abs(x.mean() - mean) < 5 * deviation * np.sqrt(2 / size), where
  # Kolmogorov and Smirnov's statistic of two samples, read off at a hundred quantiles.
  below = np.searchsorted(np.sort(x), quantiles[1:-1]) / size
  gap = np.abs(below - np.linspace(0, 1, 101)[1:-1]).max()
  assert gap < 2.3 * np.sqrt(2 / size), (*where, gap)
  if size > 5000:  # tails: a cut one is as long, a free one about
    reach = np.abs(x).max() / max(abs(quantiles[0]), abs(quantiles[-1]))
    assert 0.7 < reach < 1.45, (*where, reach)
  return gap if size > 5000 else 0.0  # of few numbers chance alone makes more


def tokens(grid, b=DRAWS):
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, int(np.prod(grid)), len(grid)))
  return core.Tokens(jnp.zeros((b, where.shape[1], 1)), where, grid=grid)


def hidden_by(mask, n):
  """Which tokens are masked with weight, bool [b n]."""
  found = np.zeros((mask.masked.shape[0], n), bool)
  rows = np.arange(len(found))[:, None]
  index, weight = np.asarray(mask.masked[:, 0]), np.asarray(mask.weight[:, 0]) > 0
  np.logical_or.at(found, (np.broadcast_to(rows, index.shape)[weight], index[weight]), True)
  return found


def beit_blocks(key):
  """What BEiT's blocks hide, bool [b h w]."""
  return np.asarray(block.grown(key, DRAWS, (14, 14), 75, (16.0, 75.0), 0.3))


MASKS = {
  "mae": lambda key: hidden_by(masks.random(key, tokens((14, 14)), ratio=0.75), 196),
  "simmim": lambda key: hidden_by(
    masks.random_blocks(key, tokens((48, 48)), ratio=0.6, unit=8), 2304
  ),
  "videomae": lambda key: hidden_by(masks.tube(key, tokens((8, 14, 14)), ratio=0.9), 1568),
  "ibot": lambda key: hidden_by(masks.block_wise_by_chance(key, tokens((14, 14)), chance=1.0), 196),
  "beit": lambda key: beit_blocks(key).reshape(DRAWS, -1),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_hide_as_many_and_the_same_places_as_the_reference(case, record):
  frequency, counts = GOLDEN[f"mask/{case}/frequency"], GOLDEN[f"mask/{case}/counts"]
  ours = MASKS[case](jax.random.key(2))
  assert len(ours) == DRAWS
  name = dict(simmim="simmim vit").get(case, case)
  record(name, "the authors' code", "mask", np.abs(ours.mean(0) - frequency).max())
  chance = np.sqrt(2 * frequency * (1 - frequency) / DRAWS)
  assert (np.abs(ours.mean(0) - frequency) < 5 * chance).all()
  mine = np.bincount(ours.sum(1), minlength=len(counts))
  if (counts > 0).sum() == 1:
    np.testing.assert_array_equal(mine, counts)
  else:
    gap = np.abs(np.cumsum(mine) - np.cumsum(counts)).max() / DRAWS
    assert gap < 2.3 * np.sqrt(2 / DRAWS), gap


def test_blocks_of_beit_have_the_heights_widths_and_areas_of_the_reference(monkeypatch, record):
  monkeypatch.setattr(block, "DRAWS", 1)  # the first block of each mask alone
  first, recorded = beit_blocks(jax.random.key(3)), GOLDEN["block/beit/first"]
  ours = np.zeros_like(recorded)
  np.add.at(ours, (first.any(2).sum(1), first.any(1).sum(1)), 1)
  assert recorded.sum() == ours.sum() == DRAWS
  area = np.multiply.outer(np.arange(14), np.arange(14)).ravel()
  kinds = [x.sum(axis) for axis in (0, 1) for x in (ours, recorded)]
  kinds += [np.bincount(area, x.ravel()) for x in (ours, recorded)]
  for found, wanted in zip(kinds[::2], kinds[1::2], strict=True):
    gap = np.abs(np.cumsum(found - wanted)).max() / DRAWS
    assert gap < 2.3 * np.sqrt(2 / DRAWS), gap
    record("beit", "the authors' code", "mask", gap)
  share = np.maximum((ours + recorded) / 2 / DRAWS, 1e-3)  # shapes, and so aspects, one by one
  assert (np.abs(ours - recorded) / DRAWS < 5 * np.sqrt(2 * share / DRAWS)).all()


def test_masks_of_beit_have_as_many_runs_of_each_length_as_the_reference():
  hidden = beit_blocks(jax.random.key(4)).astype(int)
  rows, columns = np.stack(GOLDEN["block/beit/runs"], 1)
  for lines, (wanted, spread) in ((hidden, rows), (hidden.swapaxes(1, 2), columns)):
    edges = np.diff(np.pad(lines, ((0, 0), (0, 0), (1, 1)))).reshape(-1)
    lengths = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    found = np.bincount(lengths, minlength=15) / DRAWS
    assert found[0] == wanted[0] == 0
    assert (np.abs(found - wanted)[1:] < (5 * spread * np.sqrt(2 / DRAWS))[1:]).all()


def test_the_learning_rate_of_mae_is_the_recorded_one(record):
  golden = np.load(pathlib.Path(__file__).parent / "golden" / "adamw.npz")
  names = "peak_lr", "min_lr", "warmup_epochs", "epochs", "iters_per_epoch"
  peak, end, warmup, epochs, steps = (float(golden[f"long/{name}"]) for name in names)
  total = epochs * steps
  rates = [
    schedules.cosine(jnp.float32(i / total), peak=peak, end=end, warmup=warmup / epochs)
    for i in range(len(golden["long/lr"]))
  ]
  deviation = np.abs(np.asarray(rates) - golden["long/lr"]).max() / peak
  assert deviation < 1e-6
  record("mae", "the authors' code", "schedule", deviation)
