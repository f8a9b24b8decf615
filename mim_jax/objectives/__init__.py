"""The order in which the parts meet; objective(parts, batch, step, teachers, *, ...) -> Outcome."""

from mim_jax.objectives.context import predict_from_context as predict_from_context
from mim_jax.objectives.corruption import predict_corrupted as predict_corrupted
from mim_jax.objectives.encoding import encode as encode
from mim_jax.objectives.prediction import predict_masked as predict_masked
