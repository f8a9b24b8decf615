"""Painters of what an objective returned; painter(batch, outcome, *, ...) -> Pictures."""

from mim_jax.pictures.glyphs import text as text
from mim_jax.pictures.heat import scores as scores
from mim_jax.pictures.palette import codes as codes
from mim_jax.pictures.palette import latents as latents
from mim_jax.pictures.panels import modalities as modalities
from mim_jax.pictures.values import cubes as cubes
from mim_jax.pictures.values import pixels as pixels
