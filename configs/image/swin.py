"""Swin transformers by size, for the configs of this folder (no config itself)."""

from mim_jax import encoders, tokenizers
from mim_jax.config import part
from mim_jax.configs import recipe

# Width of the first stage, stages, heads (arXiv 2103.14030, section 3.3); nano and tiny are ours.
SIZES = dict(
  nano=dict(width=16, depths=(2, 2), heads=(2, 4), window=4),
  tiny=dict(width=48, depths=(2, 2), heads=(3, 6), window=4),
  S=dict(width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), window=6),
  B=dict(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=6),
  L=dict(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12),
)


def parts(c, a) -> dict:
  """Swin, and a linear head that predicts the square of tokens that each latent stands for."""
  shape, dtype = dict(recipe.chosen(a, "size", SIZES)), c.train.get_ref("dtype")
  tokens = dict(width=shape.pop("width"), kernel_init="torch", dtype=dtype)
  return dict(
    tokenizer=part(tokenizers.ImagePatches, patch=c.get_ref("patch"), **tokens),
    encoder=part(encoders.Swin, **shape, dtype=dtype),
    predictor=recipe.linear(c, a, cell=2 ** (len(shape["depths"]) - 1)),
  )
