"""Losses on classes, one float32 number a token. Letters: b g m as in core, k classes, p pixels."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int


def soft_cross_entropy(
  predictions: Float[Array, "b g m k"],
  targets: Float[Array, "b g m k"],
  *,
  temperature: float = 1.0,
) -> Float[Array, "b g m"]:
  """-sum_k targets log softmax(predictions / temperature); targets are distributions over k.

  DINO (arXiv 2104.14294), equation 2; iBOT; CAPI.
  """
  scores = predictions.astype(jnp.float32) / temperature
  targets = targets.astype(jnp.float32)
  all_of_it = jnp.sum(targets, -1)  # 1, up to rounding
  return jax.nn.logsumexp(scores, -1) * all_of_it - jnp.sum(targets * scores, -1)


def cross_entropy(
  predictions: Float[Array, "b g m e"], targets: Int[Array, "b g m p"]
) -> Float[Array, "b g m"]:
  """Mean of the cross-entropies of a token's p choices: e = p x classes, class last.

  A token has one choice where it is to be given a code (BEiT, equation 1), and one for each pixel
  where it is to be segmented (MultiMAE, section 3.4).
  """
  p = targets.shape[-1]
  scores = predictions.astype(jnp.float32).reshape(*targets.shape, predictions.shape[-1] // p)
  right = jnp.take_along_axis(scores, targets[..., None], -1, mode="promise_in_bounds")[..., 0]
  return jnp.mean(jax.nn.logsumexp(scores, -1) - right, -1)


pixel_cross_entropy = cross_entropy  # where the choices are those of pixels
