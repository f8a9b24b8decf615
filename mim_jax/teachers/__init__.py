"""Networks that are bound but not trained by gradient."""

from mim_jax.teachers.ema import Ema as Ema
