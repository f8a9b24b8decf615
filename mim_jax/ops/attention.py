"""Softmax attention. Letters: b batch, q queries, n keys, h heads, e width of a head.

Logits and softmax are float32, whatever the inputs are. jax.nn.dot_product_attention gives the same
numbers, by a gradient of more passes over the logits.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

_NEVER = -0.7 * float(jnp.finfo(jnp.float32).max)  # finite: a query without a key gets no NaN


def attend(
  query: Float[Array, "b q h e"],
  key: Float[Array, "b n h e"],
  value: Float[Array, "b n h e"],
  bias: Float[Array, "1 h q n"] | Float[Array, "b h q n"] | None = None,
  keep: Bool[Array, "b 1 _ n"] | None = None,
  implementation: str | None = None,
) -> Float[Array, "b q h e"]:
  """Computes softmax attention: values mixed for each query, in the type of the values.

  bias: added to the scaled logits. keep: which keys are seen, by all queries or by each.
  implementation: None or "xla"; "cudnn" for the fused kernel (a GPU, bfloat16 or float16).
  """
  if implementation == "cudnn":
    return jax.nn.dot_product_attention(query, key, value, bias, keep, implementation="cudnn")
  return _mix(_logits(query, key, bias, keep), value)


def weights(
  query: Float[Array, "b q h e"],
  key: Float[Array, "b n h e"],
  keep: Bool[Array, "b 1 _ n"] | None = None,
  bias: Float[Array, "1 h q n"] | None = None,
) -> Float[Array, "b h q n"]:
  """Computes attention weights, float32, which sum to 1 over keys. Arguments as `attend`."""
  return jax.nn.softmax(_logits(query, key, bias, keep))


def _logits(query, key, bias, keep) -> Float[Array, "b h q n"]:
  """Computes scaled products of queries and keys, float32."""
  logits = _products(query * query.shape[-1] ** -0.5, key)
  logits = logits if bias is None else logits + bias
  return logits if keep is None else jnp.where(keep, logits, _NEVER)


@jax.custom_vjp
def _products(query: Float[Array, "b q h e"], key: Float[Array, "b n h e"]):
  """Multiplies every query and key: float32 [b h q n].

  The gradient's products, too, are of float32 factors only where queries and keys are.
  """
  return _products_forward(query, key)[0]


def _products_forward(query, key):
  found = jnp.einsum("bqhe,bnhe->bhqn", query, key, preferred_element_type=jnp.float32)
  return found, (query, key)


def _products_backward(kept, gradient):
  query, key = kept
  gradient = gradient.astype(query.dtype)
  to_query = jnp.einsum("bhqn,bnhe->bhqe", gradient, key)
  return jnp.swapaxes(to_query, 1, 2), _to_keys(query, gradient)


_products.defvjp(_products_forward, _products_backward)


def _to_keys(rows: Float[Array, "b q h e"], shares: Float[Array, "b h q n"]):
  """Sums rows x shares over queries, [b n h e].

  Made as [b h e n]: a CPU reads shares row by row that way, in half the time.
  """
  return jnp.einsum("bqhe,bhqn->bhen", rows, shares).transpose(0, 3, 1, 2)


@jax.custom_vjp
def _mix(logits: Float[Array, "b h q n"], value: Float[Array, "b n h e"]):
  """Takes the softmax over keys and sums the values, [b q h e].

  Its gradient needs the row sums of (gradient of the weights) x (weights). These are those of
  (gradient of the output) x (output), which has e entries a row instead of n: FlashAttention, arXiv
  2205.14135, appendix B.2.
  """
  return _mix_forward(logits, value)[0]


def _mix_forward(logits, value):
  shares = jax.nn.softmax(logits).astype(value.dtype)
  mixed = jnp.swapaxes(jnp.einsum("bhqn,bnhe->bhqe", shares, value), 1, 2)
  return mixed, (shares, value, mixed)


def _mix_backward(kept, gradient):
  shares, value, mixed = kept
  to_shares = jnp.einsum("bqhe,bnhe->bhqn", gradient, value, preferred_element_type=jnp.float32)
  sums = jnp.sum(gradient * mixed, -1, dtype=jnp.float32)
  sums = jnp.swapaxes(sums, 1, 2)[..., None]
  return shares.astype(jnp.float32) * (to_shares - sums), _to_keys(gradient, shares)


_mix.defvjp(_mix_forward, _mix_backward)
