"""Linen blocks that encoders and predictors are built from; those named here are parts."""

from mim_jax.layers.quantizer import Quantizer as Quantizer
