"""Evaluations that train on labels; evaluation(encode, data, seed, *, ...) -> {name: number}."""

from mim_jax.evaluate.trained.tuning import attentive as attentive
from mim_jax.evaluate.trained.tuning import finetune as finetune
from mim_jax.evaluate.trained.tuning import from_scratch as from_scratch
from mim_jax.evaluate.trained.tuning import linear_lars as linear_lars
