"""Discrete codes for patches (VQ-VAE, arXiv 1711.00937; VQ-KD, arXiv 2208.06366). Letters: b batch,
n tokens, c width of a code, e target.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.core import Outcome, Step
from mim_jax.layers import init, transformer
from mim_jax.ops import positions


def learn_codes(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  target: Callable,
  loss: Callable,
  commitment: float = 1.0,
) -> Outcome:
  """Encodes all patches, replaces each latent by its nearest code, decodes.

  entry: of the batch. Source: VQ-VAE (arXiv 1711.00937), equation 3: the codes follow the latents
  on their own, so the two terms left are how well the target is met, and how far latents are from
  their codes.
  """
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  coded = parts.quantizer(parts.encoder(tokens).values)  # values [b n c], straight through
  predictions = parts.decoder(dataclasses.replace(tokens, values=coded.values))[:, None]
  targets = target(batch, teachers)[:, None]  # [b 1 n e]
  errors = loss(predictions, targets)  # [b 1 n]
  met, away = jnp.mean(errors), jnp.mean(coded.distance)
  metrics = dict(decoded=met, commitment=away, perplexity=coded.perplexity, usage=coded.usage)
  total = met + commitment * away
  return Outcome(total, metrics, None, predictions, targets)


class Decoder(nn.Module):
  """Tokens [b n c] -> predictions [b n e] for every token: widen, positions, blocks,
  linear-tanh-linear.

  BEiT v2, section 2.2, with fixed sine-cosine positions and no class token. `kernels`: a word of
  `layers.initial`.
  """

  width: int
  depth: int
  heads: int
  target_width: int
  mlp_ratio: float = 4.0
  attention: str | None = None
  scan: bool = False
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"
  kernels: str = "scaled"

  @nn.compact
  def __call__(self, tokens: core.Tokens) -> Float[Array, "b n e"]:
    kernel = init.kernel(self.kernels)
    x = transformer.dense(self.width, self.dtype, "embed", kernel_init=kernel)(tokens.values)
    x = x + positions.sincos(tokens.positions, self.width).astype(x.dtype)
    x = transformer.Stack(**self._stack(), name="stack")(x, tokens.valid)
    x = transformer.norm(self.dtype, "norm")(x)
    x = jnp.tanh(transformer.dense(self.width, self.dtype, "hidden", kernel_init=kernel)(x))
    return transformer.dense(self.target_width, self.dtype, "head", kernel_init=kernel)(x)

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio attention scan unroll remat dtype kernels"
    return {name: getattr(self, name) for name in names.split()}
