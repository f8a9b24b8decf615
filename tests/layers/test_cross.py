import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mim_jax.errors import InputError
from mim_jax.layers import cross

D, HEADS = 8, 2
ATTENTION = cross.CrossAttention(HEADS)
BLOCK = cross.CrossBlock(HEADS, hidden=12)
X, MEMORY = (jax.random.normal(jax.random.key(i), (2, n, D)) for i, n in ((0, 5), (1, 7)))
PARAMS = {
  name: jax.tree.map(  # norms and biases that do something
    lambda p: p + 0.3 * jax.random.normal(jax.random.key(p.size), p.shape),
    jax.jit(module.init)(jax.random.key(2), X, MEMORY),
  )
  for name, module in (("attention", ATTENTION), ("block", BLOCK))
}
attend = jax.jit(lambda *args: ATTENTION.apply(PARAMS["attention"], *args))
block = jax.jit(lambda *args: BLOCK.apply(PARAMS["block"], *args))


def softmax_attention(params, x, memory):
  """One head after another, in numpy."""
  query = x @ params["query"]["kernel"] + params["query"]["bias"]
  key, value = np.split(
    memory @ params["key_value"]["kernel"] + params["key_value"]["bias"], 2, axis=-1
  )
  heads = []
  for q, k, v in zip(*(np.split(y, HEADS, axis=-1) for y in (query, key, value)), strict=True):
    logits = np.exp(q @ k.swapaxes(1, 2) / (D // HEADS) ** 0.5)
    heads.append(logits / logits.sum(-1, keepdims=True) @ v)
  return np.concatenate(heads, -1) @ params["out"]["kernel"] + params["out"]["bias"]


def test_attention_is_softmax_attention():
  params = jax.tree.map(np.float64, PARAMS["attention"]["params"])
  expected = softmax_attention(params, np.float64(X), np.float64(MEMORY))
  np.testing.assert_allclose(attend(X, MEMORY), expected, atol=1e-5)


def test_the_block_is_cross_attention_then_mlp_then_self_attention_each_normed_afterwards():
  p = jax.tree.map(np.float64, PARAMS["block"]["params"])

  def norm(name, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * p[name]["scale"] + p[name]["bias"]

  x, memory = np.float64(X), np.float64(MEMORY)
  x = norm("norm1", x + softmax_attention(p["cross"], x, memory))
  up = np.float64(jax.nn.gelu(x @ p["up"]["kernel"] + p["up"]["bias"], approximate=False))
  x = norm("norm2", x + up @ p["down"]["kernel"] + p["down"]["bias"])
  x = norm("norm3", x + softmax_attention(p["self"], x, x))
  np.testing.assert_allclose(block(X, MEMORY), x, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(7)))
def test_the_order_of_the_memory_does_not_matter_and_that_of_the_tokens_is_kept(tokens, memory):
  tokens, memory = np.array(tokens), np.array(memory)
  for function in (attend, block):
    expected = function(X, MEMORY)[:, tokens]
    np.testing.assert_allclose(function(X[:, tokens], MEMORY[:, memory]), expected, atol=2e-5)


def test_entries_that_are_not_real_count_for_nothing():
  valid = jnp.arange(7)[None] < jnp.asarray([[4], [7]])
  noise = jnp.where(valid[..., None], MEMORY, 100.0)
  np.testing.assert_allclose(attend(X, noise, valid), attend(X, MEMORY, valid), atol=1e-6)
  np.testing.assert_allclose(attend(X, MEMORY, valid)[0], attend(X, MEMORY[:, :4])[0], atol=1e-6)
  valid = jnp.arange(5)[None] < jnp.asarray([[3], [5]])
  noise = jnp.where(valid[..., None], X, 100.0)
  found, expected = block(noise, MEMORY, valid), block(X, MEMORY, valid)
  np.testing.assert_allclose(found[0, :3], expected[0, :3], atol=1e-5)


def test_projections_start_like_one_fused_xavier_matrix():
  params = cross.CrossAttention(4).init(
    jax.random.key(0), jnp.zeros((1, 1, 64)), jnp.zeros((1, 1, 64))
  )
  for name, width in (("query", 64), ("key_value", 128)):
    kernel = params["params"][name]["kernel"]
    bound = (6 / (64 + 3 * 64)) ** 0.5
    assert kernel.shape == (64, width)
    assert 0.98 * bound < np.abs(kernel).max() <= bound
    assert not params["params"][name]["bias"].any()


def test_dropout_is_for_training_alone_and_keeps_the_mean():
  dropped = cross.CrossAttention(HEADS, dropout=0.1)
  keys = jax.random.split(jax.random.key(0), 1000)

  @jax.jit
  @jax.vmap
  def train(key):
    return dropped.apply(PARAMS["attention"], X, MEMORY, rngs={"dropout": key})

  found = train(keys)
  assert np.abs(found[0] - found[1]).max() > 0.01
  np.testing.assert_allclose(found.mean(0), attend(X, MEMORY), atol=0.1)
  np.testing.assert_array_equal(dropped.apply(PARAMS["attention"], X, MEMORY), attend(X, MEMORY))
  one, other = (BLOCK.apply(PARAMS["block"], X, MEMORY, rngs={"dropout": key}) for key in keys[:2])
  assert np.abs(one - other).max() > 0.01


def test_heads_must_divide_the_width():
  with pytest.raises(InputError, match="width 8 is not a multiple of 3 heads"):
    cross.CrossAttention(3).init(jax.random.key(0), X, MEMORY)
