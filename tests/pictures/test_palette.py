"""Latents and codes: the right colour at the right patch, and nothing that was not predicted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, errors, pictures
from mim_jax.pictures import grid, palette
from tests.pictures import scene


def latents(width=6):
  return jax.random.normal(jax.random.key(3), (3, 16, width))


def painted(outcome, given=None, painter=pictures.latents):
  given = scene.images() if given is None else given
  return jax.jit(lambda outcome: painter(given, outcome, entry="image"))(outcome).panels


def test_directions_are_those_of_the_covariance():
  values = jax.random.normal(jax.random.key(2), (2, 50, 4)) * jnp.asarray([[[1.0, 5.0, 3.0, 0.1]]])
  mean, axes, std = palette.directions(values + 7.0)
  flat = np.asarray(values).reshape(-1, 4) + 7
  np.testing.assert_allclose(mean, flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(np.abs(axes.T @ axes), np.eye(3), atol=1e-5)
  np.testing.assert_allclose(
    np.sort(np.linalg.eigvalsh(np.cov(flat.T, ddof=0)))[:0:-1], std**2, rtol=1e-3
  )
  assert [int(np.abs(a).argmax()) for a in axes.T] == [1, 2, 0]
  assert (np.asarray(axes).max(0) == np.abs(axes).max(0)).all()


def test_narrow_vectors_have_fewer_directions():
  mean, axes, std = palette.directions(latents(2))
  assert (mean.shape, axes.shape, std.shape) == ((2,), (2, 3), (3,))
  assert not np.any(axes[:, 2])
  shown = palette.coloured(latents(2), (mean, axes, std))
  np.testing.assert_allclose(shown[..., 2], 0.5)


def test_two_kinds_of_patches_get_two_colours():
  kind = np.asarray(jax.random.bernoulli(jax.random.key(3), 0.5, (3, 16)))
  noise = 0.01 * jax.random.normal(jax.random.key(4), (3, 16, 6))
  truth = jnp.where(kind[..., None], jnp.arange(6.0)[None, None], 1.0) + noise
  mask, given = scene.even_and_odd(), scene.images()
  shown = pictures.latents(given, scene.outcome(mask, truth, truth), entry="image")
  assert set(shown.panels) == {"original", "masked", "predicted", "target"}
  assert "not the image" in shown.note
  red = scene.colours(shown.panels["target"], given["image"])[..., 0]
  first, second = (red[scene.hidden(mask) & side] for side in (kind, ~kind))
  assert abs(first.mean() - second.mean()) > 0.3
  assert max(first.std(), second.std()) < 0.01


def test_perfect_predictions_look_like_their_targets():
  truth, given, mask = latents(), scene.images(), scene.even_and_odd()
  shown = painted(scene.outcome(mask, truth, truth))
  found = {k: scene.colours(shown[k], given["image"]) for k in ("predicted", "target")}
  hidden = scene.hidden(mask)
  np.testing.assert_array_equal((scene.cut(shown["masked"]) == 0).all(-1), hidden)
  np.testing.assert_allclose(found["predicted"], found["target"], atol=1e-5)
  np.testing.assert_allclose(found["target"][~hidden], palette.GREY, atol=1e-5)
  asked = core.take(truth, mask.masked)
  wanted = palette.coloured(asked, palette.directions(asked))[:, 0]  # [b m 3]
  at = np.asarray(mask.masked)[:, 0, :, None]
  np.testing.assert_allclose(np.take_along_axis(found["target"], at, 1), wanted, atol=1e-5)


def test_wrong_predictions_are_shown_by_the_directions_of_the_targets():
  truth, given, mask = latents(), scene.images(), scene.even_and_odd()
  found = painted(scene.outcome(mask, 5 - truth, truth))
  right = painted(scene.outcome(mask, truth, truth))
  np.testing.assert_array_equal(found["target"], right["target"])
  assert not np.allclose(found["predicted"], right["predicted"])
  away = painted(scene.outcome(mask, truth + 1e3, truth))["predicted"]
  shown = scene.colours(away, given["image"])[scene.hidden(mask)]
  assert set(np.unique(shown.round(4))) <= {0.0, 1.0}


@pytest.mark.parametrize("kind", ["ids", "column", "shares"])
def test_codes(kind):
  ids = jax.random.randint(jax.random.key(3), (3, 16), 0, 9)
  given, mask, logits = scene.images(), scene.even_and_odd(), jax.nn.one_hot(ids, 9)
  made = scene.outcome(mask, logits, logits if kind == "shares" else ids[..., None])
  if kind == "ids":
    made = dataclasses.replace(made, targets=made.targets[..., 0])
  shown = painted(made, painter=pictures.codes)
  found = {k: scene.colours(shown[k], given["image"]) for k in ("predicted", "target")}
  hidden = scene.hidden(mask)
  np.testing.assert_allclose(found["target"][hidden], palette.hues(ids)[hidden], atol=1e-5)
  np.testing.assert_allclose(found["predicted"], found["target"], atol=1e-5)
  np.testing.assert_allclose(found["target"][~hidden], palette.GREY, atol=1e-5)


def test_hues_are_distinct_colours():
  found = np.asarray(palette.hues(jnp.arange(64)[None]))[0]
  assert found.min() >= 0
  assert found.max() <= 1
  apart = np.linalg.norm(found[:, None] - found[None], axis=-1) + np.eye(64)
  assert apart.min() > 0.02


@pytest.mark.parametrize("painter", [pictures.latents, pictures.codes])
def test_padding_paints_nothing(painter):
  truth, given = latents(), scene.images()
  shown = painted(scene.outcome(scene.padded(), truth, jax.nn.softmax(truth)), painter=painter)
  for name in ("predicted", "target"):
    found = scene.colours(shown[name], given["image"])
    grey = np.abs(found - palette.GREY).max(-1) < 1e-5
    assert (grey == (np.arange(16) != 4)).all()
  assert ((scene.cut(shown["masked"]) == 0).all(-1) == (np.arange(16) > 1)).all()


@pytest.mark.parametrize("painter", [pictures.latents, pictures.codes])
def test_of_several_masks_of_a_sample_the_first_is_shown(painter):
  truth, one = jax.nn.softmax(latents()), scene.even_and_odd()
  other = core.make_mask(scene.tokens(), one.masked[:, 0], one.visible)
  both = jax.tree.map(lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:]), one, other)
  both = dataclasses.replace(both, copies=2)
  twice = core.repeated(truth, 2)
  found = painted(scene.outcome(both, twice, twice), painter=painter)
  wanted = painted(scene.outcome(one, truth, truth), painter=painter)
  np.testing.assert_array_equal(found["masked"], wanted["masked"])
  for name in ("predicted", "target"):  # directions are those of all targets
    shown = scene.colours(found[name], scene.images()["image"])
    grey = np.abs(shown - palette.GREY).max(-1) < 1e-5
    np.testing.assert_array_equal(grey, ~scene.hidden(one))


def test_several_groups_share_the_picture():
  ids = jnp.broadcast_to(jnp.arange(16), (3, 16))
  groups = jnp.stack([ids[:, 4:8], ids[:, 8:12]], 1)
  mask = core.make_mask(scene.tokens(), ids[:, :4], groups)
  codes = jnp.broadcast_to(jnp.asarray([2, 5]).reshape(1, 2, 1), (3, 2, 4))
  made = core.Outcome(jnp.float32(0), {}, mask, jax.nn.one_hot(codes, 9), codes)
  found = scene.colours(painted(made, painter=pictures.codes)["target"], scene.images()["image"])
  two, five = palette.hues(jnp.asarray([[2, 5]]))[0]
  np.testing.assert_allclose(found[:, 4:8], np.broadcast_to(two, (3, 4, 3)), atol=1e-5)
  np.testing.assert_allclose(found[:, 8:12], np.broadcast_to(five, (3, 4, 3)), atol=1e-5)
  np.testing.assert_allclose(found[:, 12:], palette.GREY, atol=1e-5)


def test_several_scales_have_two_panels_each_on_grids_of_their_own():
  given, mask = scene.images(), scene.even_and_odd()
  sizes = {"coarse": 4, "fine": 64}
  scales = {k: jax.random.normal(jax.random.key(n), (3, 1, n, 5)) for k, n in sizes.items()}
  made = core.Outcome(jnp.float32(0), {}, mask, scales, scales)
  shown = pictures.latents(given, made, entry="image")
  names = {f"{name} {what}" for name in sizes for what in ("predicted", "target")}
  assert set(shown.panels) == {"original", "masked"} | names
  assert "of which all was visible" in shown.note
  for name, cells in sizes.items():
    target = scales[name]
    wanted = palette.coloured(target[:, 0], palette.directions(target))
    for what in ("predicted", "target"):
      found = scene.colours(shown.panels[f"{name} {what}"], given["image"], cells)
      np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_grid_of_cells():
  assert palette.cell_grid((4, 4), 64) == (8, 8)
  assert palette.cell_grid((2, 4), 2) == (1, 2)
  assert palette.cell_grid((14, 14), 196) == (14, 14)


@pytest.mark.parametrize("painter", [pictures.latents, pictures.codes, pictures.scores])
def test_painters_of_masked_patches_need_a_mask(painter):
  logits = jnp.zeros((3, 1, 16, 4))
  made = core.Outcome(jnp.float32(0), predictions=logits, targets=logits)
  with pytest.raises(errors.InputError, match="the objective draws none"):
    painter(scene.images(), made, entry="image")


@pytest.mark.parametrize("c", [1, 2, 3, 5])
def test_images_of_any_number_of_channels(c, tmp_path):
  given, truth = scene.images(c=c), latents()
  made = pictures.latents(given, scene.outcome(scene.even_and_odd(), truth, truth), entry="image")
  assert made.panels["target"].shape == (3, 8, 8, 3 if c == 1 else c)
  grid.save(tmp_path, made, scene.on_scale)
  assert (tmp_path / "reconstructions" / "grid.png").exists()
