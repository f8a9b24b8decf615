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
from mim_jax.layers import basic, init
from mim_jax.layers.position_embeddings import Positions, SinCos


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
  latents = parts.encoder(tokens)  # [b n d]
  counted = () if latents.valid is None else (latents.valid,)
  coded = parts.quantizer(latents.values, *counted)  # values [b n c], straight through
  predictions = parts.decoder(dataclasses.replace(tokens, values=coded.values))[:, None]
  targets = target(batch, teachers)[:, None]  # [b 1 n e]
  errors = loss(predictions, targets)  # [b 1 n]
  met, away = mean(errors[:, 0], tokens.valid), mean(coded.distance, latents.valid)
  metrics = dict(decoded=met, commitment=away, perplexity=coded.perplexity, usage=coded.usage)
  total = met + commitment * away
  return Outcome(total, metrics, None, predictions, targets)


def mean(values: Float[Array, "b n"], valid: Array | None) -> Float[Array, ""]:
  """Averages over the real tokens."""
  if valid is None:
    return jnp.mean(values)
  return core.weighted_mean(values, valid.astype(jnp.float32))


class Decoder(nn.Module):
  """Predicts every token from its code, Tokens [b n c] -> [b n e]: widen, positions, blocks, MLP.

  BEiT v2, section 2.2, without a class token; the MLP is linear, tanh, linear. `stack` is a
  layers.Stack; all kernels start as its own do.
  """

  width: int
  target_width: int
  stack: nn.Module
  positions: Positions = SinCos()

  @nn.compact
  def __call__(self, tokens: core.Tokens) -> Float[Array, "b n e"]:
    dtype, kernel = self.stack.dtype, init.kernel(self.stack.kernel_init)
    x = basic.dense(self.width, dtype, "embed", kernel_init=kernel)(tokens.values)
    code = self.positions.code(self._draw, tokens.positions, tokens.grid, self.width)
    x = x if code is None else x + code.astype(x.dtype)
    x = self.stack(x, tokens.valid)
    x = basic.norm(dtype, "norm")(x)
    x = jnp.tanh(basic.dense(self.width, dtype, "hidden", kernel_init=kernel)(x))
    return basic.dense(self.target_width, dtype, "head", kernel_init=kernel)(x)

  def _draw(self, name: str, shape: tuple[int, ...], start: str | None = None):
    return self.param(name, init.token(start or self.stack.kernel_init), shape)
