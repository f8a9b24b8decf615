"""What is visible and what is predicted; mask(key, tokens, guide, progress) -> Mask."""

from mim_jax.masks.guided import attended as attended
from mim_jax.masks.guided import easy_to_hard as easy_to_hard
from mim_jax.masks.uniform import random as random
