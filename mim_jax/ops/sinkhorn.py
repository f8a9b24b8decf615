"""Sinkhorn-Knopp soft assignments. Letters: b batch, n tokens, k prototypes."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError


def sinkhorn_knopp(
  scores: Float[Array, "b n k"],
  weight: Float[Array, "b n"] | None = None,
  *,
  temperature: float,
  iterations: int = 3,
  by_position: bool = False,
) -> Float[Array, "b n k"]:
  """Computes soft assignments that use prototypes about evenly; float32, without gradient.

  exp(scores / temperature) is scaled in turn to equal sums a prototype (over samples) and to sum 1
  a token, `iterations` times, tokens last: every [b n] is a distribution. Samples are all b n
  tokens (SwAV, algorithm 1), or with `by_position` the b tokens of each position, balanced on their
  own (CAPI, section 3.2). b is the global batch: under jit over a mesh the sums span all devices.
  `weight` 0 leaves a sample out of the balance, its row is a distribution nevertheless; each
  balance needs one sample that counts. InputError where temperature or iterations is not positive.

  Kept as one potential a prototype in the logarithm, where nothing underflows and no epsilon is
  needed: the result is softmax(scores / temperature + potential).
  """
  if temperature <= 0 or iterations < 1:
    raise InputError(
      f"sinkhorn: temperature {temperature} must be above 0 and iterations {iterations} at least "
      "1; temperature=0.06, iterations=3 is usual."
    )
  scores = jax.lax.stop_gradient(scores).astype(jnp.float32) / temperature
  samples = (0,) if by_position else (0, 1)
  counts = jnp.ones(scores.shape[:2]) if weight is None else jax.lax.stop_gradient(weight)
  row = share = jnp.log(counts.astype(jnp.float32))[..., None]
  for _ in range(iterations):
    column = -jax.nn.logsumexp(scores + row, samples, keepdims=True)
    row = share - jax.nn.logsumexp(scores + column, -1, keepdims=True)
  return jax.nn.softmax(scores + column, -1)
