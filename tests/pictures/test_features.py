"""Pictures of latents: the right colour at the right patch, and nothing that was not predicted."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, encoders, masks, tokenizers
from mim_jax.ops import patches, positions
from mim_jax.pictures import grid, latent_maps

SIDE, GRID = 8, (4, 4)


def step():
  return core.Step(jax.random.key(1), jnp.asarray(0, jnp.int32), jnp.asarray(0.0))


def images(b=3, c=1):
  return {"image": jax.random.normal(jax.random.key(0), (b, SIDE, SIDE, c))}


def tokens_of(image):
  b = image.shape[0]
  where = jnp.broadcast_to(positions.grid_positions(GRID), (b, 16, 2))
  return core.Tokens(jnp.zeros((b, 16, 1)), where, grid=GRID)


def seeing(values, predicted=None):
  """Parts whose encoder returns these latents, and whose predictor looks up `predicted` [b n e]."""
  return types.SimpleNamespace(
    tokenizer=tokens_of,
    encoder=lambda tokens, mask=None, layers=None: core.Latents(values, values[:, :0]),
    predictor=lambda latents, mask: core.take(predicted, mask.masked),
  )


def half(key, tokens, guide=None, progress=None):
  return masks.random(key, tokens, ratio=0.5)


def unpainted(panel, image):
  """The colours in [0, 1] that were painted: one a patch, [b n 3]."""
  low, high = image.min(), image.max()
  cut = patches.patchify((panel - low) / (high - low), 2).reshape(len(panel), 16, 4, -1)
  np.testing.assert_allclose(cut, cut[:, :, :1].repeat(4, 2), atol=1e-6)
  return np.asarray(cut[:, :, 0])


def test_directions_are_those_of_the_covariance():
  values = jax.random.normal(jax.random.key(2), (2, 50, 4)) * jnp.asarray([[[1.0, 5.0, 3.0, 0.1]]])
  mean, axes, deviation = latent_maps.directions(values + 7.0)
  flat = np.asarray(values).reshape(-1, 4) + 7
  np.testing.assert_allclose(mean, flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(np.abs(axes.T @ axes), np.eye(3), atol=1e-5)
  np.testing.assert_allclose(
    np.sort(np.linalg.eigvalsh(np.cov(flat.T, ddof=0)))[:0:-1], deviation**2, rtol=1e-3
  )
  assert [int(np.abs(a).argmax()) for a in axes.T] == [1, 2, 0]
  assert (np.asarray(axes).max(0) == np.abs(axes).max(0)).all()


def test_two_kinds_of_patches_get_two_colours():
  kind = jax.random.bernoulli(jax.random.key(3), 0.5, (3, 16))
  noise = 0.01 * jax.random.normal(jax.random.key(4), (3, 16, 6))
  values = jnp.where(kind[..., None], jnp.arange(6.0)[None, None], 1.0) + noise
  given = images()
  shown = latent_maps.features(seeing(values), given, step())
  assert set(shown.panels) == {"original", "features"}
  assert "not the image" in shown.note
  red = unpainted(shown.panels["features"], given["image"])[..., 0]
  assert abs(red[kind].mean() - red[~kind].mean()) > 0.3
  assert max(red[kind].std(), red[~kind].std()) < 0.01


@pytest.mark.parametrize("c", [1, 2, 3, 5])
def test_layers_teachers_and_channels_of_a_real_network(c, tmp_path):
  parts = types.SimpleNamespace()
  given = images(c=c)

  def bind(seed):
    tokenizer, encoder = tokenizers.ImagePatches(2, 12), encoders.ViT(depth=2, heads=2)
    first = tokenizer.init(jax.random.key(seed), given["image"])
    tokens = tokenizer.apply(first, given["image"])
    second = encoder.init(jax.random.key(seed + 1), tokens)
    return types.SimpleNamespace(tokenizer=tokenizer.bind(first), encoder=encoder.bind(second))

  parts, teachers = bind(0), types.SimpleNamespace(ema=bind(5))
  drawn = [
    latent_maps.features(parts, given, step(), teachers, **s)
    for s in ({}, dict(layer=1), dict(teacher="ema"))
  ]
  seen = [np.asarray(p.panels["features"]) for p in drawn]
  assert all(s.shape == (3, SIDE, SIDE, 3 if c == 1 else c) for s in seen)
  assert not np.allclose(seen[0], seen[1])
  assert not np.allclose(seen[0], seen[2])
  grid.save(tmp_path, drawn[0], mean=(0.0,) * c, std=(1.0,) * c)
  assert (tmp_path / "reconstructions" / "grid.png").exists()


def test_a_coarser_grid_is_found():
  values = jax.random.normal(jax.random.key(3), (3, 4, 6))
  panel = latent_maps.features(seeing(values), images(), step()).panels["features"]
  np.testing.assert_array_equal(panel[:, :4, :4], np.broadcast_to(panel[:, :1, :1], (3, 4, 4, 3)))
  assert not np.allclose(panel[:, 0, 0], panel[:, 0, 4])


def test_perfect_predictions_look_like_their_targets():
  truth, given = jax.random.normal(jax.random.key(3), (3, 16, 6)), images()
  shown = latent_maps.predictions(
    seeing(truth, truth), given, step(), mask=half, target=lambda batch, teachers: truth
  ).panels
  colours = {k: unpainted(shown[k], given["image"]) for k in ("predicted", "target")}
  hidden = unpainted_masked(shown["masked"])
  assert (hidden.sum(1) == 8).all()
  np.testing.assert_allclose(colours["predicted"][hidden], colours["target"][hidden], atol=1e-5)
  np.testing.assert_allclose(colours["predicted"][~hidden], latent_maps.GREY, atol=1e-5)


def unpainted_masked(panel):
  return np.asarray((patches.patchify(panel, 2) == 0).all(-1))


@pytest.mark.parametrize("kind", ["ids", "column", "shares"])
def test_codes(kind):
  ids, given = jax.random.randint(jax.random.key(3), (3, 16), 0, 9), images()
  logits = jax.nn.one_hot(ids, 9)
  target = {"ids": ids, "column": ids[..., None], "shares": logits}[kind]
  shown = latent_maps.codes(
    seeing(logits, logits), given, step(), mask=half, target=lambda batch, teachers: target
  ).panels
  colours = {k: unpainted(shown[k], given["image"]) for k in ("predicted", "target")}
  hidden = unpainted_masked(shown["masked"])
  np.testing.assert_allclose(colours["target"], latent_maps.hues(ids), atol=1e-5)
  np.testing.assert_allclose(colours["predicted"][hidden], colours["target"][hidden], atol=1e-5)


def test_hues_are_distinct_colours():
  found = np.asarray(latent_maps.hues(jnp.arange(64)[None]))[0]
  assert found.min() >= 0
  assert found.max() <= 1
  apart = np.linalg.norm(found[:, None] - found[None], axis=-1) + np.eye(64)
  assert apart.min() > 0.02


def test_padding_paints_nothing():
  truth, given = jax.random.normal(jax.random.key(3), (3, 16, 6)), images()

  def padded(key, tokens, guide=None, progress=None):
    ids = jnp.broadcast_to(jnp.arange(16), (3, 16))
    weight = jnp.broadcast_to(jnp.asarray([1.0, 0.0]), (3, 2))[:, None]
    return core.make_mask(tokens, ids[:, :3], ids[:, 4:6], weight)

  shown = latent_maps.predictions(
    seeing(truth, truth), given, step(), mask=padded, target=lambda batch, teachers: truth
  ).panels
  grey = np.abs(unpainted(shown["predicted"], given["image"]) - latent_maps.GREY).max(-1) < 1e-5
  assert (grey == (np.arange(16) != 4)).all()
