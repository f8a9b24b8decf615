"""MAE: the recipe and decoder as published."""

import pytest

from mim_jax import config as config_lib


@pytest.mark.parametrize(
  ("size", "width", "depth", "heads", "patch"),
  [("B", 768, 12, 12, 16), ("L", 1024, 24, 16, 16), ("H", 1280, 32, 16, 14)],
)
def test_the_published_recipe(size, width, depth, heads, patch):
  c = config_lib.get_config("mae", f"size={size}")
  stack = c.parts.encoder.stack
  assert (c.parts.tokenizer.width, stack.depth, stack.heads, c.patch) == (
    width,
    depth,
    heads,
    patch,
  )
  decoder = c.parts.predictor
  assert (decoder.width, decoder.stack.depth, decoder.stack.heads) == (512, 8, 16)
  assert decoder.target_width == 3 * patch**2
  assert (c.objective.mask.ratio, c.objective.target.normalize) == (0.75, True)
  assert (c.train.epochs, c.train.batch_size) == (1600, 4096)
  rate = config_lib.build(c.optimizer.learning_rate)
  found = [float(rate(p)) for p in (0.0, 40 / 1600, 1.0)]
  assert found == pytest.approx([0, 2.4e-3, 0], abs=1e-8)
  decay = config_lib.build(c.optimizer.weight_decay)
  assert (float(decay(0.5)), c.optimizer.b2) == pytest.approx((0.05, 0.95))
