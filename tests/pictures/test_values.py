"""Pixels: what is seen is pasted, what is predicted is put in place, what is borrowed is said."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, errors, masks, pictures
from mim_jax.ops import patches
from mim_jax.pictures import values
from mim_jax.targets import cube, pixel
from tests.pictures import scene

STD = (0.5, 0.5, 0.5)


def drawn(outcome, given=None, **settings):
  """The panels, compiled as one program: faster than op by op."""
  settings = dict(entry="image", patch=scene.PATCH, normalize=False) | settings
  paint = lambda batch, outcome: pictures.pixels(batch, outcome, **settings)
  made = jax.jit(paint)(scene.images() if given is None else given, outcome)
  assert made.note.startswith(values.note(settings["normalize"]))
  return made.panels


def test_the_panels_by_hand():
  """One image of two patches, of which the left is seen and sevens are predicted of the right."""
  image = jnp.asarray([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 9.0]])[None, :, :, None]
  mask = core.make_mask(scene.tokens(1, (1, 2)), jnp.asarray([[0]]), jnp.asarray([[1]]))
  sevens = core.Outcome(jnp.float32(0), {}, mask, jnp.full((1, 1, 1, 4), 7.0))
  found = drawn(sevens, {"image": image})
  assert set(found) == {"original", "masked", "reconstruction"}
  np.testing.assert_array_equal(found["original"], image)
  np.testing.assert_array_equal(found["masked"][0, :, :, 0], [[1, 2, 0, 0], [5, 6, 0, 0]])
  np.testing.assert_array_equal(found["reconstruction"][0, :, :, 0], [[1, 2, 7, 7], [5, 6, 7, 7]])
  told = drawn(sevens, {"image": image}, normalize=True)
  mean, std = 23 / 4, np.var([3, 4, 7, 9], ddof=1) ** 0.5
  right = told["reconstruction"][0, :, 2:, 0]
  np.testing.assert_allclose(right, np.full((2, 2), mean + 7 * std), rtol=1e-5)
  mean, std = 14 / 4, np.var([1, 2, 5, 6], ddof=1) ** 0.5  # of the only patch that was seen
  right = told[values.VISIBLE][0, :, 2:, 0]
  np.testing.assert_allclose(right, np.full((2, 2), mean + 7 * std), rtol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("c", [1, 3])
def test_perfect_predictions_give_the_original(normalize, c):
  given = scene.images(c=c)
  truth = pixel.pixels(given, patch=scene.PATCH, normalize=normalize)
  mask = scene.even_and_odd()
  panels = drawn(scene.outcome(mask, truth), given, normalize=normalize)
  np.testing.assert_allclose(panels["reconstruction"], given["image"], atol=1e-5)
  np.testing.assert_array_equal(panels["original"], given["image"])
  np.testing.assert_array_equal((scene.cut(panels["masked"]) == 0).all(-1), scene.hidden(mask))


def test_predictions_stand_only_where_something_was_hidden():
  mask, given = scene.even_and_odd(), scene.images()
  panels = drawn(scene.outcome(mask, jnp.full((3, 16, 4), 5.0)), given)
  wanted = np.where(scene.hidden(mask)[..., None], 5.0, scene.cut(given["image"]))
  np.testing.assert_array_equal(scene.cut(panels["reconstruction"]), wanted)


def test_filled_up_and_unpredicted_tokens_stay_grey():
  """A padded draw: weight 0 must not paint, and neither seen nor asked is grey, not original."""
  given = scene.images()
  panels = drawn(scene.outcome(scene.padded(), jnp.full((3, 16, 4), 5.0)), given, normalize=True)
  cut = scene.cut(given["image"])
  _, mean, std = pixel.normalize_patches(jnp.asarray(cut))
  grey = [i for i in range(16) if i not in (0, 1, 4)]
  for name in ("reconstruction", values.VISIBLE):
    shown = scene.cut(panels[name])
    np.testing.assert_array_equal(shown[:, :2], cut[:, :2])
    assert (shown[:, grey] == 0).all()
    assert (shown[:, 4] != 0).all()
  shown = scene.cut(panels["reconstruction"])[:, 4]
  np.testing.assert_allclose(shown, np.broadcast_to((5 * std + mean)[:, 4], (3, 4)), 1e-5)


def test_several_groups_of_targets_are_painted_each_at_its_place():
  ids = jnp.broadcast_to(jnp.arange(16), (3, 16))
  groups = jnp.stack([ids[:, 4:8], ids[:, 8:12]], 1)  # [b 2 4]
  weight = jnp.ones(groups.shape).at[:, 1, 3].set(0.0)
  mask = core.make_mask(scene.tokens(), ids[:, :4], groups, weight)
  predictions = jnp.ones((3, 2, 4, 4)) * jnp.asarray([5.0, 6.0]).reshape(1, 2, 1, 1)
  found = scene.cut(drawn(core.Outcome(jnp.float32(0), {}, mask, predictions))["reconstruction"])
  np.testing.assert_array_equal(found[:, 4:8], np.full((3, 4, 4), 5.0))
  np.testing.assert_array_equal(found[:, 8:11], np.full((3, 3, 4), 6.0))
  np.testing.assert_array_equal(found[:, 11:], np.zeros((3, 5, 4)))


def test_of_several_masks_of_a_sample_the_first_is_shown():
  one = scene.even_and_odd()
  other = core.make_mask(scene.tokens(), one.masked[:, 0], one.visible)
  both = jax.tree.map(lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:]), one, other)
  both = dataclasses.replace(both, copies=2)
  fives = jnp.full((3, 16, 4), 5.0)
  predicted = core.take(core.repeated(fives, 2), both.masked)
  predicted = predicted.at[1::2].set(9.0)  # of the second mask
  found = drawn(core.Outcome(jnp.float32(0), {}, both, predicted), normalize=True)
  wanted = drawn(scene.outcome(one, fives), normalize=True)
  assert found.keys() == wanted.keys()
  for name in wanted:
    np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize("normalize", [True, False])
def test_where_nothing_is_masked_all_is_predicted_and_nothing_pasted(normalize):
  given = scene.images()
  truth = pixel.pixels(given, patch=scene.PATCH, normalize=normalize)
  whole = core.Outcome(jnp.float32(0), predictions=truth[:, None], targets=truth[:, None])
  panels = drawn(whole, given, normalize=normalize)
  assert set(panels) == {"original", "reconstruction"}
  np.testing.assert_allclose(panels["reconstruction"], given["image"], atol=1e-5)
  off = drawn(dataclasses.replace(whole, predictions=0 * truth[:, None]), given)
  assert not np.any(off["reconstruction"])


def test_what_the_mask_followed_and_the_other_view_have_panels():
  mask, given = scene.even_and_odd(), scene.images()
  scores = jnp.broadcast_to(jnp.arange(16.0), (3, 16))
  other = jnp.ones((3, 8, 8, 1))
  truth = scene.cut(given["image"])
  paint = lambda **more: pictures.pixels(
    given, scene.outcome(mask, jnp.asarray(truth), **more), entry="image", patch=2
  )
  plain, scored, helped = paint(), paint(scores=scores), paint(context=other)
  assert "scores" not in plain.panels and "context" not in plain.panels
  heat = scene.cut(scored.panels["scores"])
  np.testing.assert_allclose(heat.min(-1), heat.max(-1), atol=1e-6)  # one value a patch
  assert (np.diff(heat[..., 0], axis=1) > 0).all()
  ends = [float(f(given["image"])) for f in (jnp.min, jnp.max)]
  np.testing.assert_allclose(heat[:, [0, -1], 0], np.tile(ends, (3, 1)), rtol=1e-5)
  assert "Scores" in scored.note and "Scores" not in plain.note
  np.testing.assert_array_equal(helped.panels["context"], other)
  assert "saw the context whole" in helped.note


def test_the_entry_says_which_view_was_predicted():
  given = {"crop": scene.images()["image"], "image": jnp.zeros((3, 16, 16, 1))}
  truth = jnp.asarray(scene.cut(given["crop"]))
  panels = drawn(scene.outcome(scene.even_and_odd(), truth), given, entry="crop")
  np.testing.assert_array_equal(panels["original"], given["crop"])
  np.testing.assert_array_equal(panels["reconstruction"], given["crop"])


def test_from_visible_only_uses_nothing_of_what_was_masked():
  """Other pixels behind the mask change "reconstruction", by their brightness, and not this."""
  mask, given = scene.even_and_odd(), scene.images()
  truth = pixel.pixels(given, patch=scene.PATCH, normalize=True)
  first = drawn(scene.outcome(mask, truth), given, normalize=True)
  other = {"image": jnp.where(first["masked"] == 0, 7.0 - 3 * given["image"], given["image"])}
  second = drawn(scene.outcome(mask, truth), other, normalize=True)
  name = values.VISIBLE
  np.testing.assert_allclose(second[name], first[name], atol=1e-5)
  assert float(jnp.abs(second["reconstruction"] - first["reconstruction"]).max()) > 1
  assert name not in drawn(scene.outcome(mask, truth), given, normalize=False)


def test_what_is_guessed_is_the_mean_of_what_is_seen_near_by():
  positions = jnp.asarray([[[0.0, 0], [0, 1], [0, 2], [0, 9]]])
  seen = jnp.asarray([True, False, True, False])[None, :, None]
  found = values.guessed(jnp.asarray([2.0, 99, 4, 99])[None, :, None], seen, positions)
  assert float(found[0, 1, 0]) == pytest.approx(3.0)  # halfway
  assert float(found[0, 3, 0]) == pytest.approx(4.0, abs=1e-3)  # far away: the nearest
  assert 2 < float(found[0, 0, 0]) < 3


def test_refuses_a_network_that_predicts_something_else():
  wrong = scene.outcome(scene.even_and_odd(), jnp.zeros((3, 16, 7)))
  with pytest.raises(errors.InputError, match="predicts 7 numbers a token, but a patch has 4"):
    pictures.pixels(scene.images(), wrong, entry="image", patch=2)
  with pytest.raises(errors.InputError, match="predicts 7 numbers a token"):
    nothing = core.Outcome(jnp.float32(0), predictions=jnp.zeros((3, 1, 16, 7)))
    pictures.pixels(scene.images(), nothing, entry="image", patch=2)


def test_frames_lie_side_by_side():
  clip = jax.random.normal(jax.random.key(0), (2, 5, 3, 4, 1))
  row = values.side_by_side(clip, 3)
  assert row.shape == (2, 3, 12, 1)
  for place, t in enumerate((0, 2, 4)):
    np.testing.assert_array_equal(row[:, :, 4 * place : 4 * place + 4], clip[:, t])
  assert values.side_by_side(clip, 9).shape == (2, 3, 20, 1)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_perfect_prediction_of_a_clip_gives_the_clip_back(normalize):
  clip = jax.random.normal(jax.random.key(0), (2, 4, 8, 8, 3))
  cubes = dict(tubelet=2, patch=4, std=STD, normalize=normalize)
  truth = cube.cubes({"image": clip}, **cubes)
  mask = masks.tube(jax.random.key(1), scene.tokens(2, (2, 2, 2)), ratio=0.5)
  given = scene.outcome(mask, truth)
  found = pictures.cubes({"image": clip}, given, entry="image", **cubes)
  original = values.side_by_side(clip, 4)
  np.testing.assert_array_equal(found.panels["original"], original)
  np.testing.assert_allclose(found.panels["reconstruction"], original, atol=1e-5)
  hidden = np.asarray(found.panels["masked"] != original).reshape(2, 2, 4, 4, 2, 4, 3)
  cells = hidden.all((2, 5, 6))  # of four frames side by side
  np.testing.assert_array_equal(cells, hidden.any((2, 5, 6)))
  assert (cells.sum((1, 3)) == 2).all()  # of the four cells of a frame,
  np.testing.assert_array_equal(cells, cells[:, :, :1].repeat(4, 2))  # the same at all times
  assert (values.VISIBLE in found.panels) == normalize
  assert "side by side" in found.note
  assert ("come from the true image" in found.note) == normalize
  few = pictures.cubes({"image": clip}, given, entry="image", frames=2, **cubes).panels
  np.testing.assert_array_equal(few["original"], values.side_by_side(clip, 2))


def test_cubes_of_something_else_are_refused():
  mask = masks.tube(jax.random.key(1), scene.tokens(2, (2, 2, 2)), ratio=0.5)
  wrong = scene.outcome(mask, jnp.zeros((2, 8, 7)))
  with pytest.raises(errors.InputError, match="predicts 7 numbers a token, but a patch has 96"):
    pictures.cubes(
      {"image": jnp.ones((2, 4, 8, 8, 3))}, wrong, entry="image", tubelet=2, patch=4, std=STD
    )


def test_patches_of_clips_and_images_use_the_target_s_own_statistics():
  """What `pixels` puts back is what `targets.pixels` took away, to the last bit."""
  cut = patches.patchify(scene.images()["image"], 2)
  normal, mean, std = pixel.normalize_patches(cut)
  np.testing.assert_allclose(normal * std + mean, cut, atol=1e-6)
