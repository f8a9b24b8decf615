"""Heads; head(vectors [... d]) -> logits [... k]."""

from mim_jax.heads.classifier import Classifier as Classifier
from mim_jax.heads.projection import ProjectionHead as ProjectionHead
from mim_jax.heads.prototypes import CosinePrototypes as CosinePrototypes
from mim_jax.heads.prototypes import LinearPrototypes as LinearPrototypes
from mim_jax.heads.vocabulary import Vocabulary as Vocabulary
