"""What is visible and what is predicted, one file an idea; mask(key, tokens, guide, progress) -> Mask."""

from mim_jax.masks.uniform import random as random
