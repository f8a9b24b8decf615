"""A teacher's last layers, and what it attends to. Letters as in core."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from mim_jax.core import Latents
from mim_jax.errors import InputError
from mim_jax.targets.latent import standardized


def attended_layers(
  batch,
  teachers,
  *,
  layers: tuple[int, ...],
  view: Callable,
  whiten: bool = True,
  teacher: str = "frozen",
  signal: str = "image",
) -> tuple[list[Latents], Array]:
  """What a teacher makes of the whole image: (Latents of `layers`, attention of its class token).

  Latents are those behind blocks, before any norm, float32; with `whiten` each token has mean 0 and
  deviation 1. Attention [b n] is that of the last block, the mean of its heads, to patches alone:
  it sums to less than 1. `view` makes of our image that of the teacher. No gradient.
  Register tokens are left out. InputError where the teacher has no class token.
  Source: MaskAlign (arXiv 2211.08887).
  """
  network = getattr(teachers, teacher)
  tokens = network.tokenizer(view(batch[signal]))
  found, attention = network.encoder(tokens, layers=layers, raw=True, weights=True)
  if attention is None:
    raise InputError(f"teachers.{teacher}: needs a class token to attend. Take one that has it.")
  k, classes = found[0].prefix.shape[1], attention.shape[2]
  found = [Latents(x.values, x.prefix[:, :classes]) for x in found]
  found = [jax.tree.map(lambda x: x.astype(jnp.float32), latents) for latents in found]
  found = jax.tree.map(standardized, found) if whiten else found
  return jax.lax.stop_gradient((found, jnp.mean(attention[:, :, 0, k:], 1)))
