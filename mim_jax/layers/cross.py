"""Cross-attention blocks. Letters: b batch, n tokens, k tokens of the memory, d and e widths.

Compute runs in `dtype`; parameters, softmax and norms stay float32. Dropout is active when a
'dropout' key is given.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from mim_jax.errors import InputError
from mim_jax.layers import basic
from mim_jax.ops import attention, gelu


class CrossAttention(nn.Module):
  """Cross-attention of tokens to a memory: [b n d], [b k e] -> [b n d]; self-attention of x to x.

  The projections of query, key and value start like one fused Xavier matrix, or with `kernel_init`
  "xavier_per_projection" on their own. `valid` [b k] says which entries of the memory are real.
  """

  heads: int
  dropout: float = 0.0
  dtype: str = "float32"
  kernel_init: str = "xavier"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b n d"],
    memory: Float[Array, "b k e"],
    valid: Bool[Array, "b k"] | None = None,
  ) -> Float[Array, "b n d"]:
    b, n, d = x.shape
    if d % self.heads:
      raise InputError(f"attention: width {d} is not a multiple of {self.heads} heads")
    query = self._project("query", 1, x)[:, :, 0]
    key, value = jnp.moveaxis(self._project("key_value", 2, memory, d), 2, 0)
    keep = None if valid is None else valid[:, None, None, :]
    weights = attention.weights(query, key, keep)
    weights = _dropped(self, weights, self.dropout).astype(value.dtype)
    mixed = jnp.einsum("bhnk,bkhe->bnhe", weights, value)
    return basic.dense(d, self.dtype, "out")(mixed.reshape(b, n, d))

  def _project(self, name: str, count: int, x, width: int | None = None):
    """Projects x `count` times at once, split into heads: [b n count heads d/heads]."""
    b, n, d = x.shape
    width = d if width is None else width
    # Of one matrix of three times the width the bound is sqrt(6 / (inputs + 3 width)).
    scale = (d + count * width) / (
      d + (1 if self.kernel_init == "xavier_per_projection" else 3) * width
    )
    start = nn.initializers.variance_scaling(scale, "fan_avg", "uniform")
    values = basic.dense(count * width, self.dtype, name, kernel_init=start)(x)
    return values.reshape(b, n, count, self.heads, width // self.heads)


class CrossBlock(nn.Module):
  """Post-norm block: cross-attention, mlp, self-attention, each x = norm(x + branch); [b n d].

  `hidden` is the width inside the mlp. Source: the decoder of CropMAE (arXiv 2403.17823), which is
  the cross-self one of SiamMAE (arXiv 2305.14344, table 2).
  """

  heads: int
  hidden: int = 2048
  dropout: float = 0.1
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, x: Float[Array, "b n d"], memory: Float[Array, "b k d"], valid=None, told=None
  ):
    """`valid` [b n] says which of the tokens are real, `told` [b k] which of the memory."""
    ask, mix = (
      CrossAttention(self.heads, self.dropout, self.dtype, name=name) for name in ("cross", "self")
    )
    norms = [basic.norm(self.dtype, f"norm{i}") for i in (1, 2, 3)]
    x = norms[0](x + self._drop(ask(x, memory, told)))
    x = norms[1](x + self._drop(self._mlp(x)))
    return norms[2](x + self._drop(mix(x, x, valid)))

  def _mlp(self, x):
    y = gelu.gelu(basic.dense(self.hidden, self.dtype, "up")(x))
    return basic.dense(x.shape[-1], self.dtype, "down")(self._drop(y))

  def _drop(self, x):
    return _dropped(self, x, self.dropout)


def _dropped(module: nn.Module, x, rate: float):
  """Applies dropout: entries of x are 0 with probability `rate`, others enlarged; needs a key."""
  if not rate or not module.has_rng("dropout"):
    return x
  kept = jax.random.bernoulli(module.make_rng("dropout"), 1.0 - rate, x.shape)
  return jnp.where(kept, x / (1.0 - rate), jnp.zeros_like(x))
