"""Metrics of collapse, at their minimum where features no longer differ. Letters: b, d, k."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

ENOUGH = 256  # vectors; a rank cannot be larger than that, and more would cost more than it tells


def entropy(shares: Float[Array, "*b k"]) -> Float[Array, ""]:
  """Averages the entropy of distributions over k, in nats: log k where even, 0 where sure."""
  return jnp.mean(jnp.sum(jax.scipy.special.entr(shares.astype(jnp.float32)), -1))


def feature_std(features: Float[Array, "b d"]) -> Float[Array, ""]:
  """Averages the std of the entries of unit vectors, x sqrt(d): 1 where even, 0 where equal."""
  features = features.astype(jnp.float32)
  length = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(features), -1, keepdims=True), 1e-24))
  return jnp.mean(jnp.std(features / length, 0)) * features.shape[-1] ** 0.5


def rank_me(features: Float[Array, "b d"]) -> Float[Array, ""]:
  """Computes RankMe, exp of the entropy of singular values of up to 256 vectors: 1 to min(b, d).

  RankMe, equation 2 (arXiv 2210.02885). Values below 0.3 % of the largest count as rounding.
  """
  some = features[:ENOUGH].astype(jnp.float32)
  products = some @ some.T if some.shape[0] <= some.shape[1] else some.T @ some
  squares = jnp.linalg.eigvalsh(products)
  values = jnp.sqrt(jnp.where(squares > 1e-5 * squares[-1], squares, 0.0))
  return jnp.exp(entropy(values / jnp.maximum(jnp.sum(values), 1e-12)))
