"""Pictures of what discrete codes keep of an image. Letters: b h w c, n tokens, e."""

import dataclasses

import jax.numpy as jnp

from mim_jax.core import Step
from mim_jax.ops import patches
from mim_jax.pictures import latent_maps
from mim_jax.pictures.grid import Pictures

NOTE = (
  "Every patch was replaced by one of {codes} codes and decoded from those alone; nothing in the "
  "reconstruction is pasted from the original. Colours of codes mean nothing but which code it is."
)


def decoded(
  parts, batch, step: Step, teachers=None, *, patch: int, signal: str = "image"
) -> Pictures:
  """Panels "original", "reconstruction" from codes alone, and "codes", a colour for each.

  For networks with a tokenizer, encoder, quantizer and decoder that predicts the pixels of patches
  of side `patch`, not normalised.
  """
  image = batch[signal].astype(jnp.float32)
  tokens = parts.tokenizer(batch[signal])
  coded = parts.quantizer(parts.encoder(tokens).values)
  made = parts.decoder(dataclasses.replace(tokens, values=coded.values)).astype(jnp.float32)
  panels = {
    "original": image,
    "reconstruction": patches.unpatchify(made, tokens.grid, patch),
    "codes": latent_maps.painted(latent_maps.hues(coded.ids), tokens.grid, image),
  }
  return Pictures(panels, NOTE.format(codes=parts.quantizer.codes))
