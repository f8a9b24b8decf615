"""Depthwise convolution against XLA's, forward and both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax.ops import depthwise


def xla(x, kernel):
  side = kernel.shape[0] // 2
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    [(side, side)] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


@pytest.mark.parametrize("by", ["taps", "xla"])
@pytest.mark.parametrize(("k", "h", "w", "c"), [(7, 9, 5, 4), (3, 4, 6, 2), (1, 3, 3, 5)])
def test_it_is_what_xla_computes(k, h, w, c, by, monkeypatch):
  if by == "xla":  # what other devices are given
    monkeypatch.setattr(depthwise, "_by_taps", depthwise._by_xla)
    monkeypatch.setattr(depthwise, "_to_kernel_by_taps", depthwise._to_kernel_by_xla)
  keys = jax.random.split(jax.random.key(k), 3)
  x, given = (jax.random.normal(key, (2, h, w, c)) for key in keys[:2])
  kernel = jax.random.normal(keys[2], (k, k, 1, c))
  for ours, theirs in zip(
    (depthwise.convolve(x, kernel), *jax.vjp(depthwise.convolve, x, kernel)[1](given)),
    (xla(x, kernel), *jax.vjp(xla, x, kernel)[1](given)),
    strict=True,
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_added_up_in_float32():
  x = jnp.ones((1, 7, 7, 1), jnp.bfloat16)
  kernel = jnp.full((7, 7, 1, 1), 1 + 2**-7, jnp.bfloat16)
  found, back = jax.vjp(depthwise.convolve, x, kernel)
  assert found.dtype == jnp.bfloat16
  assert float(found[0, 3, 3, 0]) == pytest.approx(49 * (1 + 2**-7), rel=2**-8)
  assert [g.dtype for g in back(found)] == [jnp.bfloat16] * 2
