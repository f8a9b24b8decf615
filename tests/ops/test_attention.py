"""Attention, layer norm and GELU with written-out gradients are what JAX's own are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mim_jax.ops import attention, gelu
from mim_jax.ops import norm as norms


def draws(*shapes, seed=0):
  keys = jax.random.split(jax.random.key(seed), len(shapes))
  return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def same(ours, theirs, *inputs, rtol=2e-5, atol=2e-5):
  """Values, and gradients of all inputs along one direction."""
  (direction,) = draws(jax.eval_shape(ours, *inputs).shape, seed=9)

  def both(function):
    value, back = jax.vjp(function, *inputs)
    return value, *back(direction)

  for a, b in zip(jax.jit(both, static_argnums=0)(ours), both(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("masked", ["none", "keys", "pairs"])
def test_attention_is_that_of_jax(masked):
  query, key, value = draws((2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4))
  (bias,) = draws((1, 3, 5, 7), seed=1)
  rows = dict(none=None, keys=1, pairs=5)[masked]
  keep = None if rows is None else jax.random.bernoulli(jax.random.key(3), 0.7, (2, 1, rows, 7))
  same(
    lambda q, k, v, b: attention.attend(q, k, v, b, keep),
    lambda q, k, v, b: jax.nn.dot_product_attention(q, k, v, b, keep),
    query,
    key,
    value,
    bias,
  )


def test_values_mixed_by_the_weights_are_what_attention_gives():
  query, key, value = draws((2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4))
  shares = attention.weights(query, key)
  np.testing.assert_allclose(shares.sum(-1), 1.0, rtol=1e-5)
  mixed = jnp.einsum("bhqn,bnhe->bqhe", shares, value)
  np.testing.assert_allclose(attention.attend(query, key, value), mixed, rtol=1e-5, atol=1e-6)


def test_a_query_without_a_key_gives_numbers():
  query, key, value = draws((1, 2, 1, 4), (1, 3, 1, 4), (1, 3, 1, 4))
  keep = jnp.zeros((1, 1, 1, 3), bool)
  loss = jax.grad(lambda q: attention.attend(q, key, value, keep=keep).sum())
  assert np.isfinite(attention.attend(query, key, value, keep=keep)).all()
  assert np.isfinite(loss(query)).all()


def test_attention_in_bfloat16_keeps_its_type_and_is_close():
  query, key, value = draws((2, 5, 3, 8), (2, 7, 3, 8), (2, 7, 3, 8))
  half = [x.astype(jnp.bfloat16) for x in (query, key, value)]
  mixed, back = jax.vjp(attention.attend, *half)
  assert {mixed.dtype, *(g.dtype for g in back(mixed))} == {jnp.dtype(jnp.bfloat16)}
  whole = attention.attend(query, key, value)
  np.testing.assert_allclose(mixed.astype(jnp.float32), whole, atol=0.05)


def test_layer_norm_is_that_of_flax():
  x, scale, bias = draws((2, 3, 8), (8,), (8,))

  def theirs(x, scale, bias):
    layer = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False)
    return layer.apply({"params": {"scale": scale, "bias": bias}}, 3 * x + 5)

  same(lambda x, s, b: norms.layer_norm(3 * x + 5, s, b, 1e-6), theirs, x, scale, bias)


def test_layer_norm_of_bfloat16_computes_in_float32():
  x, scale, bias = draws((2, 3, 8), (8,), (8,))
  half = x.astype(jnp.bfloat16)
  ours = norms.layer_norm(half, scale, bias, 1e-6)
  assert ours.dtype == jnp.float32
  whole = norms.layer_norm(half.astype(jnp.float32), scale, bias, 1e-6)
  np.testing.assert_array_equal(ours, whole)


def test_gelu_is_the_exact_one():
  x = jnp.linspace(-6, 6, 401)
  same(gelu.gelu, lambda x: jax.nn.gelu(x, approximate=False), x, atol=1e-6)
