"""Teachers: networks that are not trained by gradient; init, update, bind."""

from mim_jax.teachers.ema import Ema as Ema
from mim_jax.teachers.frozen import FromRun as FromRun
from mim_jax.teachers.frozen import Untrained as Untrained
