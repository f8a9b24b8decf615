"""Represent what is visible; encoder(tokens, mask=None, layers=None) -> Latents."""

from mim_jax.encoders.vit import ViT as ViT
