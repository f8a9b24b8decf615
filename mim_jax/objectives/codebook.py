"""Learning discrete codes for patches. Letters: b batch, n tokens, c width of a code, e target."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from mim_jax.core import Step


def learn_codes(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  target: Callable,
  loss: Callable,
  commitment: float = 1.0,
  signal: str = "image",
):
  """Encode all patches, replace each latent by its nearest code, decode: (loss, metrics).

  VQ-VAE (arXiv 1711.00937), equation 3: the codes follow the latents on their own, so the two terms
  left are how well the target is met, and how far latents are from their codes.
  """
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  coded = parts.quantizer(parts.encoder(tokens).values)  # values [b n c], straight through
  predictions = parts.decoder(dataclasses.replace(tokens, values=coded.values))  # [b n e]
  errors = loss(predictions[:, None], target(batch, teachers)[:, None])  # [b 1 n]
  met, away = jnp.mean(errors), jnp.mean(coded.distance)
  metrics = dict(decoded=met, commitment=away, perplexity=coded.perplexity, usage=coded.usage)
  return met + commitment * away, metrics
