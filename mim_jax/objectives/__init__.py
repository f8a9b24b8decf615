"""The order in which the parts meet; objective(parts, batch, step, teachers) -> (loss, metrics)."""

from mim_jax.objectives.predict_masked import predict_masked as predict_masked
from mim_jax.objectives.encode import encode as encode
