"""Predict what is masked; predictor(latents, mask, context=None) -> [b g m e]."""

from mim_jax.predictors.ranked import Ranked as Ranked
from mim_jax.predictors.transformer import Transformer as Transformer
from mim_jax.predictors.unet import UNet as UNet
