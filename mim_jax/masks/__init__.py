"""Masks: visible and predicted tokens; mask(key, tokens, scores, progress, *, ...) -> Mask."""

from mim_jax.masks.block import block_wise as block_wise
from mim_jax.masks.block import block_wise_by_chance as block_wise_by_chance
from mim_jax.masks.block import random_blocks as random_blocks
from mim_jax.masks.guided import attention_sampled as attention_sampled
from mim_jax.masks.guided import easy_to_hard as easy_to_hard
from mim_jax.masks.multimodal import dirichlet as dirichlet
from mim_jax.masks.one_block import inverse_block as inverse_block
from mim_jax.masks.rectangles import multi_block as multi_block
from mim_jax.masks.tubes import tube as tube
from mim_jax.masks.uniform import random as random
from mim_jax.masks.uniform import random_keep_few as random_keep_few
