"""What should have been predicted; target(batch, teachers) -> [b n e], no gradient."""

from mim_jax.targets.gradients import hog as hog
from mim_jax.targets.pixel import pixels as pixels
