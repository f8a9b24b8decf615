"""Predictors of masked tokens; predictor(latents, mask, context=None) -> [b g m e]."""

from mim_jax.predictors.cross_attention import CrossTransformer as CrossTransformer
from mim_jax.predictors.joint import Transformer as Transformer
from mim_jax.predictors.linear import Linear as Linear
from mim_jax.predictors.rope_cross_attention import CrossAttentionDecoder as CrossAttentionDecoder
from mim_jax.predictors.unet import UNet as UNet
