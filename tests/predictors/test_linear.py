"""The linear predictor, for latents of tokens and of squares of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, masks, predictors
from mim_jax.errors import InputError
from mim_jax.ops import patches, positions


def mask_of(grid=(4, 4), b=2):
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, grid[0] * grid[1], 2))
  tokens = core.Tokens(jnp.zeros((*where.shape[:2], 4)), where, grid=grid)
  return masks.random(jax.random.key(0), tokens, ratio=0.5)


def latents_of(n, d=6, b=2):
  return core.Latents(jax.random.normal(jax.random.key(1), (b, n, d)), jnp.zeros((b, 0, d)))


def test_each_masked_token_is_read_from_its_own_latent():
  model, mask, latents = predictors.Linear(target_width=3), mask_of(), latents_of(16)
  found, params = model.init_with_output(jax.random.key(2), latents, mask)
  head = params["params"]["head"]
  expected = latents.values @ head["kernel"] + head["bias"][None, None]
  np.testing.assert_allclose(found, core.take(expected, mask.masked), atol=1e-6)


def test_a_coarse_latent_predicts_the_pixels_of_its_square():
  """As a 1x1 convolution and a pixel shuffle: square by square, then cut into the masked patches."""
  model, mask, latents = predictors.Linear(target_width=4, cell=2), mask_of(), latents_of(4)
  found, params = model.init_with_output(jax.random.key(2), latents, mask)
  head = params["params"]["head"]
  assert head["kernel"].shape == (6, 16)
  squares = latents.values @ head["kernel"] + head["bias"][None, None]  # 4 tokens of 2 x 2 pixels
  tokens = squares.reshape(2, 2, 2, 2, 2, 4).transpose(0, 1, 3, 2, 4, 5).reshape(2, 16, 4)
  np.testing.assert_allclose(found, core.take(tokens, mask.masked), atol=1e-6)
  image = patches.unpatchify(tokens, (4, 4), 2)
  corner = squares[:, 3].reshape(2, 2, 2, 4)  # the last square is the lower right corner
  np.testing.assert_allclose(image[:, 4:6, 4:6, 0], corner[:, 0, 0].reshape(2, 2, 2), atol=1e-6)


@pytest.mark.parametrize("kernels", ["torch", "trunc_normal"])
def test_initial_distributions(kernels):
  model = predictors.Linear(target_width=2000, kernel_init=kernels)
  head = model.init(jax.random.key(2), latents_of(16, 64), mask_of())["params"]["head"]
  if kernels == "torch":
    for values in head.values():
      assert np.abs(values).max() <= 1 / 8
      np.testing.assert_allclose(np.std(values), 1 / 8 / np.sqrt(3), rtol=0.05)
  else:
    assert np.abs(head["kernel"]).max() <= 0.02
    np.testing.assert_array_equal(head["bias"], 0)


def test_latents_that_do_not_cover_the_tokens_are_refused():
  with pytest.raises(InputError, match=r"8 latents, each for 1 x 1 tokens, do not cover 16"):
    predictors.Linear(target_width=3).init(jax.random.key(0), latents_of(8), mask_of())
