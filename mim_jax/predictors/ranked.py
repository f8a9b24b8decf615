"""MAE's decoder with a second head that guesses its losses. Letters as in core."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import transformer
from mim_jax.predictors import transformer as decoder


class Ranked(nn.Module):
  """Two transformers over one sequence of visible latents and mask tokens (HPM, arXiv 2304.05919).

  Called, it predicts the masked tokens, [b g m e] with e = target_width. `scores` guesses how large
  the losses are. Both share the linear map of the latents, the mask token and the positions.
  """

  width: int
  depth: int
  heads: int
  target_width: int
  mlp_ratio: float = 4.0
  attention: str | None = None
  scan: bool = False
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"

  def setup(self):
    self.embed = transformer.dense(self.width, self.dtype)
    self.mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, 1, self.width))
    self.stack, self.ranking_stack = (transformer.Stack(**self._stack()) for _ in range(2))
    self.norm = transformer.norm(self.dtype)
    self.head = transformer.dense(self.target_width, self.dtype)
    # A shift of all scores changes no order, so that no bias behind the ranking blocks would learn.
    self.ranking_norm = transformer.norm(self.dtype, use_bias=False)
    # The reference averages `target_width` outputs with Xavier kernels: scores start near 0.
    spread = (2 / (self.width + self.target_width) / self.target_width) ** 0.5
    init = nn.initializers.normal(spread)
    self.ranking_head = transformer.dense(1, self.dtype, use_bias=False, kernel_init=init)

  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    x, valid = decoder.sequence(self.embed, self.mask_token, latents, mask)
    b, g, m = mask.masked.shape
    asked = self.stack(x, valid)[:, x.shape[1] - m :]
    return self.head(self.norm(asked)).reshape(b, g, m, self.target_width)

  def scores(
    self, latents: core.Latents, mask: core.Mask
  ) -> tuple[Float[Array, "b g v"], Float[Array, "b g m"]]:
    """Guessed losses of (visible, masked) tokens, float32; only their order has a meaning."""
    x, valid = decoder.sequence(self.embed, self.mask_token, latents, mask)
    b, g, m = mask.masked.shape
    found = self.ranking_head(self.ranking_norm(self.ranking_stack(x, valid)))
    found = found.astype(jnp.float32).reshape(b, g, -1)
    k, end = latents.prefix.shape[1], found.shape[-1]
    return found[..., k : end - m], found[..., end - m :]

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio attention scan unroll remat dtype"
    return {name: getattr(self, name) for name in names.split()}
