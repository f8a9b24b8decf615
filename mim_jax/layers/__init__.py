"""Linen layers of encoders and predictors; those named here are parts."""

from mim_jax.layers.masking import Drop as Drop
from mim_jax.layers.masking import Replace as Replace
from mim_jax.layers.position_embeddings import Learned as Learned
from mim_jax.layers.position_embeddings import NoPositions as NoPositions
from mim_jax.layers.position_embeddings import RelativeTable as RelativeTable
from mim_jax.layers.position_embeddings import SinCos as SinCos
from mim_jax.layers.quantizer import Quantizer as Quantizer
from mim_jax.layers.rope_blocks import RopeStack as RopeStack
from mim_jax.layers.sequence_positions import SequencePositions as SequencePositions
from mim_jax.layers.stack import Stack as Stack
