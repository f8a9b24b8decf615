"""Losses, per token; loss(predictions, targets) -> [b g m]."""

from mim_jax.losses.classification import cross_entropy as cross_entropy
from mim_jax.losses.classification import pixel_cross_entropy as pixel_cross_entropy
from mim_jax.losses.classification import soft_cross_entropy as soft_cross_entropy
from mim_jax.losses.regression import absolute_error as absolute_error
from mim_jax.losses.regression import smooth_l1 as smooth_l1
from mim_jax.losses.regression import squared_error as squared_error
