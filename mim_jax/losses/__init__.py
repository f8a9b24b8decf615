"""How far off, per token; loss(predictions, targets) -> [b g m]."""

from mim_jax.losses.regression import absolute_error as absolute_error
from mim_jax.losses.regression import squared_error as squared_error
