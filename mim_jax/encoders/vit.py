"""Vision transformer. Letters: b batch, n tokens, v visible, k prefix tokens, d width."""

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.errors import unknown
from mim_jax.layers import transformer
from mim_jax.ops import gather, positions


class ViT(nn.Module):
  """Pre-norm ViT with fixed sine-cosine positions: Tokens [b n d] -> Latents [b v d] + prefix [b k d].

  `hidden` says what becomes of tokens that are not visible: "drop" (MAE: the encoder is as short as the
  visible set) or "token" (SimMIM, BEiT: a learned token stands in for each, all n are kept).
  With `layers` (1 = after the first block) a list of Latents, un-normed but for the last layer.
  Class tokens normal(0.02) without position, as in MAE.
  """

  depth: int
  heads: int
  mlp_ratio: float = 4.0
  qkv_bias: bool = True
  class_tokens: int = 1
  hidden: str = "drop"
  layer_scale: float | None = None
  drop_path: float = 0.0
  attention: str | None = None
  scan: bool = False
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"

  @nn.compact
  def __call__(self, tokens: core.Tokens, mask: core.Mask | None = None, layers=None):
    if self.hidden not in ("drop", "token"):
      raise unknown("encoder.hidden", self.hidden, ("drop", "token"))
    x, valid = self._hide(tokens, mask)
    b, _, d = x.shape
    prefix = self.param("class_token", nn.initializers.normal(0.02), (1, self.class_tokens, d))
    x = jnp.concatenate([jnp.broadcast_to(prefix, (b, self.class_tokens, d)).astype(x.dtype), x], 1)
    if valid is not None:
      valid = jnp.concatenate([jnp.ones((b, self.class_tokens), bool), valid], 1)
    stack = transformer.Stack(**self._stack(), name="stack")
    wanted = (self.depth,) if layers is None else layers
    final = transformer.norm(self.dtype, "norm")
    latents = []
    for layer, y in zip(wanted, stack(x, valid, tuple(wanted)), strict=True):
      y = final(y) if transformer.check_layer(layer, self.depth) == self.depth else y
      latents.append(core.Latents(y[:, self.class_tokens :], y[:, : self.class_tokens]))
    return latents[0] if layers is None else latents

  def _hide(self, tokens, mask):
    """The tokens the blocks work on, positions added, and which of them are real."""
    values = tokens.values
    if mask is not None and self.hidden == "token":
      stand_in = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, values.shape[-1]))
      seen = gather.member(mask.visible, values.shape[1], mask.valid)
      values = jnp.where(seen[..., None], values, stand_in.astype(values.dtype))
    x = values + positions.sincos(tokens.positions, values.shape[-1]).astype(values.dtype)
    if mask is None or self.hidden == "token":
      return x, tokens.valid
    return core.take(x, mask.visible), mask.valid

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio qkv_bias layer_scale drop_path attention scan unroll remat dtype"
    return {name: getattr(self, name) for name in names.split()}
