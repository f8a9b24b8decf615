"""The formulas against the table of MAE and against XLA's own count for the real layers."""

import jax
import jax.numpy as jnp
import pytest

from mim_jax.layers import basic
from mim_jax.layers.stack import Stack
from tests import cost_by_hand as cost


def counted(function, *shapes):
  """XLA's count for `function` on zeros of these shapes; nothing is compiled."""
  arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return jax.jit(function).lower(*arrays).cost_analysis()["flops"]


def layer_cost(module, *shape):
  x = jnp.zeros(shape)
  params = jax.eval_shape(module.init, jax.random.key(0), x)
  return jax.jit(module.apply).lower(params, x).cost_analysis()["flops"]


def mae(d, depth, patch, ratio=0.75, decoder=8, side=224):
  """GFLOP of one training image of MAE with a decoder 512 wide."""
  n = (side // patch) ** 2
  v = int(n * (1 - ratio))
  pixels = 3 * patch**2
  encoder = cost.dense(n, pixels, d) + cost.stack(v + 1, d, depth)
  predictor = cost.stack(n + 1, 512, decoder) + cost.dense(n + 1, 512, pixels)
  return cost.TRAIN * (encoder + cost.dense(v + 1, d, 512) + predictor) / 1e9


@pytest.mark.parametrize(
  ("size", "published"),
  [((384, 12, 16), 39.0), ((768, 12, 16), 58.7), ((1024, 24, 16), 124.5), ((1280, 32, 14), 291.4)],
)
def test_mae_as_in_the_table(size, published):
  assert mae(*size) == pytest.approx(published, abs=0.06)


@pytest.mark.parametrize(
  ("settings", "published"),
  [
    (dict(ratio=0.0), (138, 402, 1047)),
    (dict(ratio=0.9), (43, 70, 142)),
    (dict(decoder=1), (31, 97, 255)),
    (dict(side=448), (259, 523, None)),
  ],
)
def test_mae_at_other_ratios_depths_and_sides(settings, published):
  sizes = ((768, 12, 16), (1024, 24, 16), (1280, 32, 14))
  for size, expected in zip(sizes, published, strict=True):
    assert expected is None or mae(*size, **settings) == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize(
  ("d", "depth", "published"), [(384, 12, 9.2), (768, 12, 35.1), (1024, 24, 123)]
)
def test_a_whole_vit(d, depth, published):
  found = cost.dense(196, 768, d) + cost.stack(197, d, depth) + cost.dense(1, d, 1000)
  assert found / 1e9 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("n", "d", "heads"), [(50, 768, 12), (197, 512, 16)])
@pytest.mark.parametrize("ratio", [4.0, 2.0])
def test_stack_is_what_xla_counts(n, d, heads, ratio):
  found = layer_cost(Stack(depth=2, heads=heads, mlp_ratio=ratio), 1, n, d)
  assert cost.stack(n, d, 2, ratio) == pytest.approx(found, rel=0.03)  # softmax over 197 is 2 %
  assert cost.stack(n, d, 2, ratio) < found


def test_attention_over_other_tokens():
  n, keys, d, width = 20, 50, 64, 96

  def cross(x, y, q, k, v, out):
    heads = lambda z, m: (z @ m).reshape(1, -1, 4, d // 4)
    return jax.nn.dot_product_attention(heads(x, q), heads(y, k), heads(y, v)).reshape(n, d) @ out

  shapes = [(n, d), (keys, width), (d, d), (width, d), (width, d), (d, d)]
  assert cost.attention(n, d, keys, width) == pytest.approx(counted(cross, *shapes), rel=0.05)
  assert cost.attention(n, d) == 8 * n * d * d + 4 * n * n * d


def test_dense_is_what_xla_counts():
  found = layer_cost(basic.dense(5, "float32", use_bias=False), 3, 7)
  assert cost.dense(3, 7, 5) == found == 210


@pytest.mark.parametrize(
  ("k", "stride", "groups"),
  [
    (1, 1, 1),
    (3, 1, 1),
    (7, 1, 1),
    (7, 1, 4),
    (3, 2, 1),
    (7, 2, 1),
    (1, 2, 1),
    (2, 2, 1),
    (4, 4, 1),
  ],
)
def test_convolution_is_what_xla_counts(k, stride, groups):
  h, w, a, b = 7, 5, 4, 8
  before = (k - stride + 1) // 2
  after = max(k - stride - before, 0)

  def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      [(before, after)] * 2,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
    )

  found = counted(convolve, (1, h * stride, w * stride, a), (k, k, a // groups, b))
  assert cost.convolution(h, w, k, a, b, groups, stride) == found


def test_convolution_counts_all_of_the_kernel_where_nothing_is_padded():
  assert cost.convolution(56, 56, 4, 3, 96, stride=4) == 2 * 56**2 * 16 * 3 * 96
  assert cost.convolution(7, 7, 1, 32, 64) == cost.dense(49, 32, 64)
  assert cost.convolution(1, 1, 3, 1, 1) == 2
