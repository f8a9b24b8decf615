"""Multi-head self-attention. Letters: b batch, n tokens, d width."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from mim_jax.errors import InputError
from mim_jax.layers import basic, init
from mim_jax.ops import attention


class Attention(nn.Module):
  """Self-attention with one fused projection (Xavier over the fused matrix), [b n d] -> [b n d].

  With `queries` it also returns the attention of the first `queries` tokens, [b heads queries n].
  `valid` says which keys are real, for all queries [b n] or for each [b n n]. `bias` [heads n n] is
  added to the scaled logits, as relative positions are. Without `key_bias` only queries and values
  have one, each its own (BEiT). `kernel_init` is a word of layers.init; `block` numbers this block.
  """

  heads: int
  qkv_bias: bool = True
  implementation: Literal["xla", "cudnn"] | None = None
  dtype: str = "float32"
  queries: int = 0
  key_bias: bool = True
  kernel_init: str = "xavier"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b n d"],
    valid: Bool[Array, "b n"] | Bool[Array, "b n n"] | None = None,
    bias: Float[Array, "h n n"] | None = None,
    block=None,
  ):
    b, n, d = x.shape
    if d % self.heads:
      raise InputError(f"attention: width {d} is not a multiple of {self.heads} heads")
    qkv = self._project(x)
    query, key, value = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)
    keep = None if valid is None else valid.reshape(b, 1, -1, n)
    bias = None if bias is None else bias[None]
    mixed = attention.attend(query, key, value, bias, keep, self.implementation)
    kernel = init.kernel(self.kernel_init, block)
    out = basic.dense(d, self.dtype, "out", kernel_init=kernel)(mixed.reshape(b, n, d))
    if not self.queries:
      return out
    asked = None if bias is None else bias[:, :, : self.queries]
    return out, attention.weights(query[:, : self.queries], key, keep, asked)

  def _project(self, x):
    """Projects to queries, keys and values, concatenated, [b n 3d]."""
    d, fused = x.shape[-1], self.qkv_bias and self.key_bias
    kernel = init.kernel(self.kernel_init, fused=3)
    qkv = basic.dense(3 * d, self.dtype, "qkv", use_bias=fused, kernel_init=kernel)(x)
    if fused or not self.qkv_bias:
      return qkv
    query, value = (
      self.param(f"{name}_bias", nn.initializers.zeros, (d,)) for name in ("query", "value")
    )
    added = jnp.concatenate([query, jnp.zeros_like(query), value])
    return qkv + added.astype(qkv.dtype)[None, None]
