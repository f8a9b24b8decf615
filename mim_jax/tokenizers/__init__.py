"""Tokenizers, one file a modality."""

from mim_jax.tokenizers.cells import Cells as Cells
from mim_jax.tokenizers.image import ImagePatches as ImagePatches
from mim_jax.tokenizers.labels import ClassPatches as ClassPatches
from mim_jax.tokenizers.text import Bytes as Bytes
from mim_jax.tokenizers.video import VideoCubes as VideoCubes
