"""Cross-attention decoder from one view to another. Letters as in core."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.layers import basic, cross, init
from mim_jax.layers.position_embeddings import Positions, SinCos
from mim_jax.predictors import joint as joined


class CrossTransformer(nn.Module):
  """CropMAE's decoder: Latents, `context` of another view -> [b g m e] at the masked tokens.

  Visible latents and mask tokens, with positions, ask the context in every block; what is asked,
  prefix tokens included, gets no positions here: its encoder has put them in. Both come in by one
  linear layer. Each group of targets is predicted on its own. A context may have a row for each
  sample where the mask has `copies`. InputError without a context.
  Source: CropMAE (arXiv 2403.17823), SiamMAE (arXiv 2305.14344).
  """

  width: int
  depth: int
  heads: int
  target_width: int
  hidden: int = 2048
  dropout: float = 0.1
  positions: Positions = SinCos()
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context: core.Latents | None = None
  ) -> Float[Array, "b g m e"]:
    if context is None:
      raise InputError(
        "predictor: CrossTransformer predicts one view from another and was given one view only. "
        "Use objectives.predict_from_context, or predictors.Transformer."
      )
    b, g, m = mask.masked.shape
    if len(context.values) != b:
      context = core.repeated(context, mask.copies)
    embed = basic.dense(self.width, self.dtype, "embed")
    memory = embed(jnp.concatenate([context.prefix, context.values], 1))
    memory, told = _grouped(memory, g), None
    if context.valid is not None:
      prefix = jnp.ones(context.prefix.shape[:2], bool)
      told = _grouped(jnp.concatenate([prefix, context.valid], 1), g)
    token = self._draw("mask_token", (1, 1, 1, self.width))
    code = self.positions.code(self._draw, mask.positions, mask.grid, self.width)
    x, valid = joined.sequence(embed, token, latents, mask, code)
    for i in range(self.depth):
      block = cross.CrossBlock(
        self.heads, self.hidden, self.dropout, self.dtype, name=f"block_{i:02d}"
      )
      x = block(x, memory, valid, told)
    x = basic.norm(self.dtype, "norm")(x[:, x.shape[1] - m :])
    return basic.dense(self.target_width, self.dtype, "head")(x).reshape(b, g, m, -1)

  def _draw(self, name: str, shape: tuple[int, ...], start: str | None = None):
    return self.param(name, init.token(start or "xavier"), shape)


def _grouped(x: Array, g: int) -> Array:
  """Repeats each row for its `g` groups of targets, [b ...] -> [b*g ...]."""
  return jnp.broadcast_to(x[:, None], (x.shape[0], g, *x.shape[1:])).reshape(-1, *x.shape[1:])
