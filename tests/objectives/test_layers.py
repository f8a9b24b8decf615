"""Targets for several layers: which cells count, and how the losses are joined."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import config as config_lib
from mim_jax import core, losses, masks
from mim_jax.methods import localmim
from mim_jax.methods import localmim as layers
from mim_jax.ops import positions


def tokens_of(grid, b=2):
  n = grid[0] * grid[1]
  where = jnp.broadcast_to(positions.grid_positions(grid), (b, n, 2))
  return core.Tokens(jnp.zeros((b, n, 4)), where, grid=grid)


@pytest.mark.parametrize(("cells", "total"), [(3136, 2352), (784, 588), (196, 147), (49, 36.75)])
def test_a_cell_counts_as_much_as_is_hidden_of_it(cells, total):
  drawn = masks.random(jax.random.key(0), tokens_of((14, 14)), ratio=0.75)
  weight = layers.hidden_share(drawn, cells)
  np.testing.assert_allclose(weight.sum(1), total, rtol=1e-6)
  levels = {0.0, 0.25, 0.5, 0.75, 1.0} if cells == 49 else {0.0, 1.0}
  assert set(np.unique(weight)) <= levels


def test_losses_are_added_and_only_hidden_cells_count():
  """One patch of four is seen; predictions are 0, so that losses are means of squared targets."""
  tokens = tokens_of((2, 2), b=1)
  drawn = core.make_mask(tokens, jnp.array([[1]]), jnp.array([[0, 2, 3]]))
  fine = jnp.arange(16.0).reshape(1, 16, 1)  # a 4 x 4 grid; the patch seen has 2, 3, 6, 7
  coarse = jnp.full((1, 1, 1), 2.0)
  asked = []

  def encoder(tokens, mask, layers):
    asked.append(layers)
    return "latents"

  parts = types.SimpleNamespace(
    tokenizer=lambda signal: tokens,
    encoder=encoder,
    predictor=lambda latents, mask: [0 * fine[:, None], 0 * coarse[:, None]],
  )
  total, metrics = localmim.predict_multiscale(
    parts,
    {"image": None},
    core.Step(None, 0, 0),
    None,
    mask=lambda *args, progress: drawn,
    layers=(1, 2),
    targets={"scale_0": lambda *_: fine, "scale_1": lambda *_: coarse},
    loss=losses.squared_error,
  )
  counted = [i for i in range(16) if i not in (2, 3, 6, 7)]
  np.testing.assert_allclose(metrics["scale_0"], np.mean(np.square(counted)), rtol=1e-6)
  np.testing.assert_allclose(metrics["scale_1"], 4.0)
  np.testing.assert_allclose(total, metrics["scale_0"] + metrics["scale_1"], rtol=1e-6)
  assert asked == [(1, 2)]


@pytest.mark.parametrize(
  ("size", "taps", "rate", "bins", "gigaflops"),
  [("B", (2, 4, 10, 12), 1.6e-3, 9, 31.4), ("L", (2, 4, 22, 24), 2.4e-3, 18, 97.4)],
)
def test_the_published_recipe(size, taps, rate, bins, gigaflops):
  c = config_lib.get_config("localmim", f"size={size}")
  assert c.objective.layers == taps
  cells = [c.objective.targets[f"scale_{i}"].cell for i in range(4)]
  assert cells == [4, 8, 16, 32]
  shifts = np.array([c.objective.targets[f"scale_{i}"].bias for i in range(4)])
  assert (np.abs(shifts) < 1 / 3).all()
  assert (shifts == 0).all() == (size == "B")
  assert c.parts.predictor.target_widths == (3 * bins,) * 4
  np.testing.assert_allclose(c.optimizer.learning_rate.peak, rate)
  assert config_lib.flops(c) / 1e9 == pytest.approx(gigaflops, rel=0.005)


def test_pixels_can_be_the_targets():
  c = config_lib.get_config("localmim", "size=B,target=pixels")
  assert c.parts.predictor.target_widths == (48, 192, 768, 3072)
  assert config_lib.flops(c) > config_lib.flops(config_lib.get_config("localmim", "size=B"))
