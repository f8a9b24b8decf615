"""A teacher's latents as targets. Letters: b batch, n tokens, e = the teacher's width."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.core import painted_by


@painted_by("latents")
def latents(
  batch,
  teachers,
  mask=None,
  *,
  teacher: str = "ema",
  normalize: bool = True,
  view: Callable | None = None,
  entry: str = "image",
) -> Float[Array, "b n e"]:
  """Encodes the whole input by the named teacher: latents of every patch, float32, no gradient.

  With `normalize` each token has mean 0 and std 1, by a second norm without parameters behind the
  encoder's own (I-JEPA, section 3: targets; the norm is its reference's). `view` converts our input
  to that of a teacher with another size and normalisation (ops.resize.teacher_view).
  """
  network = getattr(teachers, teacher)
  seen = batch[entry] if view is None else view(batch[entry])
  found = network.encoder(network.tokenizer(seen)).values.astype(jnp.float32)
  return jax.lax.stop_gradient(standardized(found) if normalize else found)


def standardized(values: Float[Array, "*b e"], epsilon: float = 1e-5) -> Float[Array, "*b e"]:
  """Standardizes vectors to mean 0 and std 1: (x - mean) / sqrt(variance + epsilon)."""
  centred = values - jnp.mean(values, -1, keepdims=True)
  return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + epsilon)
