"""A transformer that turns coded tokens back into a signal. Letters: b batch, n tokens, c, e."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import initial, transformer
from mim_jax.ops import positions


class Decoder(nn.Module):
  """Tokens [b n c] -> predictions [b n e] for every token: widen, positions, blocks,
  linear-tanh-linear.

  BEiT v2, section 2.2, with fixed sine-cosine positions and no class token. `kernels`: a word of
  `layers.initial`.
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
  kernels: str = "scaled"

  @nn.compact
  def __call__(self, tokens: core.Tokens) -> Float[Array, "b n e"]:
    kernel = initial.kernel(self.kernels)
    x = transformer.dense(self.width, self.dtype, "embed", kernel_init=kernel)(tokens.values)
    x = x + positions.sincos(tokens.positions, self.width).astype(x.dtype)
    x = transformer.Stack(**self._stack(), name="stack")(x, tokens.valid)
    x = transformer.norm(self.dtype, "norm")(x)
    x = jnp.tanh(transformer.dense(self.width, self.dtype, "hidden", kernel_init=kernel)(x))
    return transformer.dense(self.target_width, self.dtype, "head", kernel_init=kernel)(x)

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio attention scan unroll remat dtype kernels"
    return {name: getattr(self, name) for name in names.split()}
