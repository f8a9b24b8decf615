"""Targets of predictions; target(batch, teachers) -> [b n e], no gradient."""

from mim_jax.targets.classes import class_ids as class_ids
from mim_jax.targets.cube import cubes as cubes
from mim_jax.targets.discrete import codes as codes
from mim_jax.targets.gradients import hog as hog
from mim_jax.targets.latent import latents as latents
from mim_jax.targets.pixel import pixels as pixels
from mim_jax.targets.token_ids import ids as ids
