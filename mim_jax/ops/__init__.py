"""Array functions without parameters; those named here may also stand in a config."""

from mim_jax.ops.resize import teacher_view as teacher_view
from mim_jax.ops.sinkhorn import sinkhorn_knopp as sinkhorn_knopp
