"""Index sets: inverse permutation, membership, scatter. Letters: b n m e."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int


def inverse(order: Int[Array, "b n"]) -> Int[Array, "b n"]:
  """Inverts permutations by one scatter (a second argsort costs more)."""
  b, n = order.shape
  rows = jnp.arange(b, dtype=order.dtype)[:, None]
  iota = jnp.broadcast_to(jnp.arange(n, dtype=order.dtype), (b, n))
  return jnp.zeros_like(order).at[rows, order].set(iota, unique_indices=True)


def member(
  index: Int[Array, "b m"], n: int, valid: Bool[Array, "b m"] | None = None
) -> Bool[Array, "b n"]:
  """Tells which of n tokens are listed in `index` (and valid): [b m] -> [b n]."""
  rows = jnp.arange(index.shape[0])[:, None]
  listed = jnp.ones(index.shape, bool) if valid is None else valid
  return jnp.zeros((index.shape[0], n), bool).at[rows, index].max(listed)


def place(
  values: Float[Array, "b m e"], index: Int[Array, "b m"], base: Float[Array, "b n e"]
) -> Array:
  """Scatters `values` [b m e] at `index` [b m] into a copy of `base` [b n e]."""
  rows = jnp.arange(index.shape[0])[:, None]
  return base.at[rows, index].set(values.astype(base.dtype))
