"""Encoders of visible tokens; encoder(tokens, mask=None, layers=None) -> Latents."""

from mim_jax.encoders.convnext import ConvNeXt as ConvNeXt
from mim_jax.encoders.resnet import ResNet as ResNet
from mim_jax.encoders.rope_vit import RopeViT as RopeViT
from mim_jax.encoders.swin import Swin as Swin
from mim_jax.encoders.vit import ViT as ViT
