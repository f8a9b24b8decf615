"""Pictures: what is seen is pasted, what is predicted is put in place, what is borrowed is said."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mim_jax import core, errors, masks
from mim_jax.encoders import vit
from mim_jax.ops import patches
from mim_jax.pictures import grid
from mim_jax.predictors import joint
from mim_jax.targets import pixel
from mim_jax.tokenizers import image as tokenizers

PATCH, SIDE = 2, 8


def half(key, tokens, guide=None, progress=None):
  return masks.random(key, tokens, ratio=0.5)


def batch(b=3, c=1):
  return {"image": jax.random.normal(jax.random.key(0), (b, SIDE, SIDE, c))}


def step():
  return core.Step(jax.random.key(1), jnp.asarray(0, jnp.int32), jnp.asarray(0.0))


def drawn(parts, given, mask=half, **settings):
  """The panels, compiled as one program: faster than op by op."""
  draw = lambda: grid.pixels(parts, given, step(), mask=mask, patch=PATCH, **settings)
  pictures = jax.jit(draw)()
  assert pictures.note == grid.note(settings["normalize"])
  return pictures.panels


def knowing(truth):
  """Parts that predict `truth` [b n e] without fail."""
  return types.SimpleNamespace(
    tokenizer=tokenizers.ImagePatches(PATCH, 8).bind({"params": first(batch())}),
    encoder=lambda tokens, mask: None,
    predictor=lambda latents, mask: core.take(truth, mask.masked),
  )


def first(given):
  return tokenizers.ImagePatches(PATCH, 8).init(jax.random.key(0), given["image"])["params"]


@pytest.mark.parametrize("normalize", [True, False])
def test_a_perfect_network_gives_the_original(normalize):
  given = batch()
  truth = pixel.pixels(given, patch=PATCH, normalize=normalize)
  panels = drawn(knowing(truth), given, normalize=normalize)
  np.testing.assert_allclose(panels["reconstruction"], given["image"], atol=1e-5)
  np.testing.assert_array_equal(panels["original"], given["image"])
  hidden = patches.patchify(panels["masked"], PATCH)
  assert ((hidden == 0).all(-1).sum(1) == 8).all()  # grey, half of sixteen patches


def test_predictions_stand_only_where_something_was_hidden():
  given = batch()
  fives = jnp.full((3, 16, 4), 5.0)
  panels = drawn(knowing(fives), given, normalize=False)
  seen = patches.patchify(panels["masked"], PATCH) != 0
  shown = patches.patchify(panels["reconstruction"], PATCH)
  cut = patches.patchify(given["image"], PATCH)
  np.testing.assert_array_equal(shown, np.where(seen, cut, 5.0))


def test_filled_up_and_unpredicted_tokens_stay_grey():
  """A padded draw: weight 0 must not paint, and neither seen nor asked is grey, not original."""

  def padded(key, tokens, guide=None, progress=None):
    ids = jnp.broadcast_to(jnp.arange(16), (3, 16))
    weight = jnp.broadcast_to(jnp.asarray([1.0, 0.0]), (3, 2))[:, None]
    valid = jnp.broadcast_to(jnp.asarray([True, True, False]), (3, 3))
    return core.make_mask(tokens, ids[:, :3], ids[:, 4:6], weight, valid)

  given = batch()
  panels = drawn(knowing(jnp.full((3, 16, 4), 5.0)), given, padded, normalize=True)
  cut = patches.patchify(given["image"], PATCH)
  shown = patches.patchify(panels["reconstruction"], PATCH)
  np.testing.assert_array_equal(shown[:, :2], cut[:, :2])
  _, mean, deviation = pixel.normalize_patches(cut)
  np.testing.assert_allclose(
    shown[:, 4], jnp.broadcast_to((5 * deviation + mean)[:, 4], (3, 4)), 1e-5
  )
  grey = [i for i in range(16) if i not in (0, 1, 4)]
  assert (shown[:, grey] == 0).all()


def test_runs_through_apply_with_real_parts(tmp_path):
  class Parts(nn.Module):
    tokenizer: nn.Module
    encoder: nn.Module
    predictor: nn.Module

  parts = Parts(
    tokenizers.ImagePatches(PATCH, 16),
    vit.ViT(depth=1, heads=2),
    joint.Transformer(width=16, depth=1, heads=2, target_width=12),
  )
  given = batch(c=3)
  draw = lambda parts: grid.pixels(
    parts, given, step(), None, mask=half, patch=PATCH, normalize=True
  )
  run = jax.jit(lambda key: parts.init_with_output(key, method=draw)[0])
  pictures = run(jax.random.key(0))
  assert pictures.panels["reconstruction"].shape == given["image"].shape
  said = grid.save(tmp_path, pictures, mean=(0.5,) * 3, std=(0.25,) * 3)
  assert said["panels"] == ["original", "masked", "reconstruction", grid.VISIBLE]
  assert "come from the true image" in said["note"]


def test_from_visible_only_uses_nothing_of_what_was_masked():
  """Other pixels behind the mask change "reconstruction", by their brightness, and not this."""
  truth = pixel.pixels(batch(), patch=PATCH, normalize=True)
  first = drawn(knowing(truth), batch(), normalize=True)
  hidden = first["masked"] == 0
  other = {"image": jnp.where(hidden, 7.0 - 3 * batch()["image"], batch()["image"])}
  second = drawn(knowing(truth), other, normalize=True)
  name = grid.VISIBLE
  np.testing.assert_allclose(second[name], first[name], atol=1e-5)
  assert float(jnp.abs(second["reconstruction"] - first["reconstruction"]).max()) > 1
  assert name not in drawn(knowing(truth), batch(), normalize=False)


def test_what_is_guessed_is_the_mean_of_what_is_seen_near_by():
  positions = jnp.asarray([[[0.0, 0], [0, 1], [0, 2], [0, 9]]])
  seen = jnp.asarray([True, False, True, False])[None, :, None]
  found = grid.guessed(jnp.asarray([2.0, 99, 4, 99])[None, :, None], seen, positions)
  assert float(found[0, 1, 0]) == pytest.approx(3.0)  # halfway
  assert float(found[0, 3, 0]) == pytest.approx(4.0, abs=1e-3)  # far away: the nearest
  assert 2 < float(found[0, 0, 0]) < 3


def test_refuses_a_network_that_predicts_something_else():
  with pytest.raises(errors.InputError, match="predicts 7 numbers a token, but a patch of 2 has 4"):
    grid.pixels(knowing(jnp.zeros((3, 16, 7))), batch(), step(), mask=half, patch=PATCH)


def panels(b, side=8, c=1):
  grey = np.linspace(0, 1, b * side * side * c).reshape(b, side, side, c)
  return {"original": grey, "masked": grey * 0, "reconstruction": grey + np.nan}


def test_small_images_are_enlarged_and_large_ones_are_not():
  assert grid.strips(panels(2))[0].shape == (160, 3 * 160 + 12, 4)
  assert grid.strips(panels(1, side=200, c=3))[0].shape == (200, 612, 4)
  assert len(grid.strips(panels(11, c=5))) == 8
  with pytest.raises(errors.InputError, match="no images"):
    grid.picture_grid(panels(0))


def test_saves_pictures_with_their_note_and_removes_old_ones(tmp_path):
  folder = tmp_path / "reconstructions"
  given = grid.Pictures(panels(3), grid.note(False))
  said = grid.save(tmp_path, given, mean=(0.0,), std=(1.0,))
  assert said["note"] == grid.note(False)
  assert sorted(p.name for p in folder.iterdir()) == ["00.png", "01.png", "02.png", "grid.png"]
  with Image.open(folder / "grid.png") as picture:
    assert picture.text["Comment"] == said["note"]
    assert picture.size == (3 * 160 + 2 * 6 + 2 * 6, 28 + 3 * 166)
  first_bytes = (folder / "grid.png").read_bytes()
  grid.save(tmp_path, grid.Pictures(panels(2)), mean=(0.0,), std=(1.0,))
  assert sorted(p.name for p in folder.iterdir()) == ["00.png", "01.png", "grid.png"]
  grid.save(tmp_path, given, mean=(0.0,), std=(1.0,))
  assert (folder / "grid.png").read_bytes() == first_bytes


def test_denormalize():
  given = {name: np.zeros((1, 2, 2, 3)) for name in ("original", "masked")}
  shown = grid.denormalize(given, (0.1, 0.2, 2.0), (1.0, 1.0, 1.0))
  np.testing.assert_allclose(shown["masked"][0, 0, 0], [0.1, 0.2, 1.0], rtol=1e-6)
