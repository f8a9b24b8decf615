"""Optimizers made of Optax pieces; optimizer(total_steps, *, ...) -> GradientTransformation."""

from mim_jax.optim.delayed import late_adamw as late_adamw
from mim_jax.optim.optimizers import DECAY as DECAY
from mim_jax.optim.optimizers import adamw as adamw
from mim_jax.optim.optimizers import lamb as lamb
