"""Projection head of self-distillation. Letters: b batch, n tokens, d width, k prototypes.

Products run in `dtype`; norms, logits and softmax are float32.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from mim_jax.heads import prototypes
from mim_jax.layers import basic, init
from mim_jax.ops import gelu


class ProjectionHead(nn.Module):
  """Projection head: [*b d] -> logits of `count` codes [*b k], for class and patch tokens alike.

  Three linear layers with GELU between them and no norm, to unit vectors of width `bottleneck`;
  then one whose columns have length 1, or with `gains` a learned one (DINO and iBOT: weight norm).
  `kernel_init`, of the three layers: a word of `layers.init`.
  """

  count: int
  hidden: int = 2048
  bottleneck: int = 256
  gains: bool = False
  dtype: str = "float32"
  kernel_init: str = "normal"

  def setup(self):
    start = init.kernel(self.kernel_init)
    self.first, self.second, self.third = (
      basic.dense(width, self.dtype, kernel_init=start)
      for width in (self.hidden, self.hidden, self.bottleneck)
    )
    self.codes = self.param("codes", init.fan_in(self.bottleneck), (self.bottleneck, self.count))
    if self.gains:
      self.gain = self.param("gain", nn.initializers.ones, (1, self.count))

  def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b k"]:
    return prototypes.scores(self._narrow(x), self._last(), self.dtype)

  def mean(
    self, x: Float[Array, "*b d"], valid: Bool[Array, "*b"] | None = None
  ) -> Float[Array, "k"]:
    """Averages logits over all (valid) vectors: the last layer is linear, so one mean passes it."""
    narrow = self._narrow(x)
    narrow = narrow.reshape(-1, narrow.shape[-1])
    if valid is None:
      middle = jnp.mean(narrow, 0, keepdims=True)
    else:
      real = valid.reshape(-1, 1)
      total = jnp.sum(jnp.where(real, narrow, 0.0), 0, keepdims=True)
      middle = total / jnp.maximum(jnp.sum(real, dtype=jnp.float32), 1.0)
    return prototypes.scores(middle, self._last(), self.dtype)[0]

  def _narrow(self, x):
    x = gelu.gelu(self.first(x))
    x = gelu.gelu(self.second(x))
    return prototypes.unit(self.third(x), 1e-12)

  def _last(self):
    length = jnp.sqrt(jnp.sum(jnp.square(self.codes), 0, keepdims=True))
    return self.codes / length * (self.gain if self.gains else 1.0)
