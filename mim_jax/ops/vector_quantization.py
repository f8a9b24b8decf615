"""Vector quantisation. Letters: v vectors, k codes, c their width, r codes revived."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int


def unit(x: Float[Array, "*v c"]) -> Float[Array, "*v c"]:
  """Normalizes vectors to length 1, float32; 0 stays 0, its gradient is finite."""
  x = x.astype(jnp.float32)
  return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-12)


def nearest(z: Float[Array, "v c"], codes: Float[Array, "k c"]) -> Int[Array, "v"]:
  """Finds the index of the nearest code, the first of equal ones."""
  # The default precision would round on accelerators, and labels would change.
  product = jnp.matmul(z, codes.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.argmin(jnp.sum(jnp.square(codes), -1)[None] - 2.0 * product, -1).astype(jnp.int32)


def totals(
  z: Float[Array, "v c"], ids: Int[Array, "v"], k: int
) -> tuple[Float[Array, "k"], Float[Array, "k c"]]:
  """Counts the vectors that chose each code, and sums them."""
  count = jax.ops.segment_sum(jnp.ones(ids.shape, jnp.float32), ids, k)
  return count, jax.ops.segment_sum(z, ids, k)


def turned(
  codes: Float[Array, "k c"], count: Float[Array, "k"], sums: Float[Array, "k c"], decay: float
) -> Float[Array, "k c"]:
  """Moves unit codes towards the mean direction of their vectors (EMA); unused ones stay.

  BEiT v2, section 2.2: the step does not depend on how many vectors chose a code.
  """
  chosen = count[:, None] > 0
  mean = jnp.where(chosen, unit(sums / jnp.maximum(count, 1.0)[:, None]), codes)
  return jnp.where(chosen, unit(decay * codes + (1.0 - decay) * mean), codes)


def averaged(
  usage: Float[Array, "k"], sums: Float[Array, "k c"], epsilon: float = 1e-5
) -> Float[Array, "k c"]:
  """Computes codes as running sums over running counts, counts smoothed by Laplace's rule.

  VQ-VAE (arXiv 1711.00937), appendix A.1, and `epsilon` of its implementation in Sonnet.
  """
  total, k = jnp.sum(usage), usage.shape[0]
  return sums / ((usage + epsilon) / (total + k * epsilon) * total)[:, None]


def replacements(
  key, distance: Float[Array, "v"], dead: Bool[Array, "k"], most: int
) -> tuple[Bool[Array, "k"], Int[Array, "k"]]:
  """Draws (which dead codes are revived, at most `most`; the vector that each would become).

  Vectors are drawn without replacement, with a probability proportional to their distance from
  their code: where the codes fit worst, one is most needed.
  """
  most = min(most, distance.shape[0])
  noise = jax.random.gumbel(key, distance.shape)
  _, drawn = jax.lax.top_k(jnp.log(distance + 1e-12) + noise, most)  # [r]
  place = jnp.cumsum(dead) - 1  # of a dead code among the dead ones
  return dead & (place < most), drawn[jnp.clip(place, 0, most - 1)]


def perplexity(count: Float[Array, "k"]) -> Float[Array, ""]:
  """Computes exp of the entropy of code usage: k where all are used equally, 1 where one is."""
  share = count / jnp.maximum(jnp.sum(count), 1.0)
  return jnp.exp(-jnp.sum(share * jnp.log(share + 1e-10)))
