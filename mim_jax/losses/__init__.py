"""How far off, per token; loss(predictions, targets) -> [b g m]."""

from mim_jax.losses.ranking import pairwise_order as pairwise_order
from mim_jax.losses.ranking import standardized_error as standardized_error
from mim_jax.losses.regression import absolute_error as absolute_error
from mim_jax.losses.regression import smooth_l1 as smooth_l1
from mim_jax.losses.regression import squared_error as squared_error
