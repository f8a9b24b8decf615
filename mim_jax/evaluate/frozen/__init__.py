"""Evaluations of frozen features; evaluation(encode, data, seed, *, ...) -> {name: number}."""

from mim_jax.evaluate.frozen.carried import propagation as propagation
from mim_jax.evaluate.frozen.corrupted import outliers as outliers
from mim_jax.evaluate.frozen.corrupted import robustness as robustness
from mim_jax.evaluate.frozen.linear import linear_probe as linear_probe
from mim_jax.evaluate.frozen.neighbours import knn as knn
from mim_jax.evaluate.frozen.pixel_classes import segmentation as segmentation
from mim_jax.evaluate.frozen.ranked import retrieval as retrieval
from mim_jax.evaluate.frozen.representation import meters as meters
