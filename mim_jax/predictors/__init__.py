"""Predict what is masked; predictor(latents, mask, context=None) -> [b g m e]."""

from mim_jax.predictors.alignment import Aligner as Aligner
from mim_jax.predictors.classifier import Classifier as Classifier
from mim_jax.predictors.cross import CrossTransformer as CrossTransformer
from mim_jax.predictors.decoder import Decoder as Decoder
from mim_jax.predictors.distillation import Balanced as Balanced
from mim_jax.predictors.distillation import Centred as Centred
from mim_jax.predictors.distillation import ProjectionHead as ProjectionHead
from mim_jax.predictors.linear import Linear as Linear
from mim_jax.predictors.prototypes import CosinePrototypes as CosinePrototypes
from mim_jax.predictors.prototypes import LinearPrototypes as LinearPrototypes
from mim_jax.predictors.ranked import Ranked as Ranked
from mim_jax.predictors.rotary import RotaryCross as RotaryCross
from mim_jax.predictors.scales import MultiScale as MultiScale
from mim_jax.predictors.signals import SignalTransformer as SignalTransformer
from mim_jax.predictors.transformer import Transformer as Transformer
from mim_jax.predictors.unet import UNet as UNet
