"""Pictures of what codes keep."""

import types

import jax.numpy as jnp
import numpy as np

from mim_jax import core
from mim_jax.layers import quantizer
from mim_jax.ops import patches
from mim_jax.pictures import decoded


def test_a_perfect_decoder_gives_the_image_back_and_codes_are_colours():
  image = jnp.arange(32.0).reshape(2, 4, 4, 1)
  cut = patches.patchify(image, 2)  # [2 4 4]
  ids = jnp.asarray([[0, 1, 1, 0], [2, 2, 2, 2]], jnp.int32)
  coded = quantizer.Coded(cut, ids, jnp.zeros((2, 4)), 1.0, 1.0)
  book = lambda values: coded
  book.codes = 3
  parts = types.SimpleNamespace(
    tokenizer=lambda image: core.Tokens(cut, jnp.zeros((2, 4, 2)), grid=(2, 2)),
    encoder=lambda tokens: core.Latents(tokens.values, jnp.zeros((2, 0, 4))),
    quantizer=book,
    decoder=lambda tokens: tokens.values,
  )
  found = decoded.decoded(parts, {"image": image}, None, patch=2)
  np.testing.assert_array_equal(found.panels["reconstruction"], image)
  assert "one of 3 codes" in found.note
  colours = np.asarray(found.panels["codes"])
  assert colours.shape == (2, 4, 4, 3)
  np.testing.assert_array_equal(colours[0, 0, 0], colours[0, 3, 3])  # code 0, in two corners
  assert not np.allclose(colours[0, 0, 0], colours[0, 0, 3])
