import types

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core, masks, tokenizers
from mim_jax.ops import patches
from mim_jax.pictures import clips, grid
from mim_jax.targets import cube, pixel

STEP = core.Step(jax.random.key(0), jnp.int32(0), jnp.float32(0))
STD = (0.5, 0.5, 0.5)


def test_frames_lie_side_by_side():
  clip = jax.random.normal(jax.random.key(0), (2, 5, 3, 4, 1))
  row = clips.side_by_side(clip, 3)
  assert row.shape == (2, 3, 12, 1)
  for place, t in enumerate((0, 2, 4)):
    np.testing.assert_array_equal(row[:, :, 4 * place : 4 * place + 4], clip[:, t])
  assert clips.side_by_side(clip, 9).shape == (2, 3, 20, 1)


def test_a_perfect_prediction_of_a_clip_gives_the_clip_back():
  clip = jax.random.normal(jax.random.key(0), (2, 4, 8, 8, 3))
  cut = patches.patchify(clip, (2, 4, 4))
  cubes = tokenizers.VideoCubes(tubelet=2, patch=4, width=4)
  parts = types.SimpleNamespace(
    tokenizer=cubes.bind(cubes.init(jax.random.key(0), clip)),
    encoder=lambda tokens, mask: core.Latents(tokens.values, tokens.values[:, :0]),
    predictor=lambda latents, mask: core.take(cube.normalize_cubes(cut, STD)[0], mask.masked),
  )

  def mask(key, tokens, guide=None, progress=None):
    return masks.tube(key, tokens, ratio=0.5)

  pictures = clips.cubes(parts, {"image": clip}, STEP, mask=mask, tubelet=2, patch=4, std=STD)
  original = clips.side_by_side(clip, 4)
  np.testing.assert_array_equal(pictures.panels["original"], original)
  np.testing.assert_allclose(pictures.panels["reconstruction"], original, atol=1e-5)
  hidden = np.asarray(pictures.panels["masked"] != original).reshape(2, 2, 4, 4, 2, 4, 3)
  cells = hidden.all((2, 5, 6))  # of four frames side by side
  np.testing.assert_array_equal(cells, hidden.any((2, 5, 6)))
  assert (cells.sum((1, 3)) == 2).all()  # of the four cells of a frame,
  np.testing.assert_array_equal(cells, cells[:, :, :1].repeat(4, 2))  # the same at all times
  assert pictures.panels[grid.VISIBLE].shape == original.shape
  assert "side by side" in pictures.note
  assert "come from the true image" in pictures.note


def test_the_predictor_gets_the_other_view_whole():
  image, context = jax.random.normal(jax.random.key(0), (2, 2, 8, 8, 1))
  truth = pixel.normalize_patches(patches.patchify(image, 4))[0]
  tokenizer, seen = tokenizers.ImagePatches(patch=4, width=4), []

  def predictor(latents, mask, context):
    seen.append((latents, context))
    return core.take(truth, mask.masked)

  def encoder(tokens, mask=None):
    values = tokens.values if mask is None else core.take(tokens.values, mask.visible)
    return core.Latents(values, values[:, :0])

  bound = tokenizer.bind(tokenizer.init(jax.random.key(0), image))
  parts = types.SimpleNamespace(tokenizer=bound, encoder=encoder, predictor=predictor)

  def mask(key, tokens, guide=None, progress=None):
    return masks.random_keep_few(key, tokens, ratio=0.9)

  batch = {"crop": image, "context": context}
  pictures = clips.from_context(parts, batch, STEP, mask=mask, patch=4, signal="crop")
  np.testing.assert_allclose(pictures.panels["reconstruction"], image, atol=1e-5)
  np.testing.assert_array_equal(pictures.panels["context"], context)
  [(latents, whole)] = seen
  assert latents.values.shape == (2, 1, 4)
  np.testing.assert_array_equal(whole.values, bound(context).values)
