"""The order in which the parts meet; objective(parts, batch, step, teachers) -> (loss, metrics)."""

from mim_jax.objectives.alignment import align_visible as align_visible
from mim_jax.objectives.clustering import predict_clusters as predict_clusters
from mim_jax.objectives.codebook import learn_codes as learn_codes
from mim_jax.objectives.context import predict_from_context as predict_from_context
from mim_jax.objectives.distillation import distill_views as distill_views
from mim_jax.objectives.encoding import encode as encode
from mim_jax.objectives.layers import predict_scales as predict_scales
from mim_jax.objectives.mining import difficulty as difficulty
from mim_jax.objectives.mining import hard_patches as hard_patches
from mim_jax.objectives.prediction import predict_masked as predict_masked
from mim_jax.objectives.signals import encode_signals as encode_signals
from mim_jax.objectives.signals import predict_signals as predict_signals
