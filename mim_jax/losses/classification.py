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
  """Computes -sum_k targets log softmax(predictions / temperature), targets summing to 1.

  DINO (arXiv 2104.14294), equation 2; iBOT; CAPI.
  """
  scores = predictions.astype(jnp.float32) / temperature
  targets = targets.astype(jnp.float32)
  all_of_it = jnp.sum(targets, -1)  # 1, up to rounding
  return jax.nn.logsumexp(scores, -1) * all_of_it - jnp.sum(targets * scores, -1)


def cross_entropy(
  predictions: Float[Array, "b g m e"], targets: Int[Array, "b g m p"]
) -> Float[Array, "b g m"]:
  """Averages the cross-entropies of a token's p labels: e = p x classes, class last.

  A token has one label where the target is its code (BEiT, equation 1), and one for each pixel
  where it is its segmentation (MultiMAE, section 3.4).
  """
  p = targets.shape[-1]
  scores = predictions.astype(jnp.float32).reshape(*targets.shape, predictions.shape[-1] // p)
  right = jnp.take_along_axis(scores, targets[..., None], -1, mode="promise_in_bounds")[..., 0]
  return jnp.mean(jax.nn.logsumexp(scores, -1) - right, -1)


pixel_cross_entropy = cross_entropy  # where the labels are those of pixels
