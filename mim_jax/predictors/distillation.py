"""The head of self-distillation, and what makes targets of a teacher's scores. Letters: b n d k.

Products run in `dtype`; norms, scores and softmax are float32.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.layers import initial, transformer
from mim_jax.ops import gelu, sinkhorn
from mim_jax.predictors import prototypes

CENTRES = "centres"  # the collection


class ProjectionHead(nn.Module):
  """[*b d] -> scores of `count` codes [*b k], for class and patch tokens alike.

  Three linear maps with GELU between them and no norm, to unit vectors of width `bottleneck`; then
  a map whose columns have length 1, or with `gains` a learned one (DINO and iBOT: weight norm).
  `kernels`, of the three maps: a word of `layers.initial`.
  """

  count: int
  hidden: int = 2048
  bottleneck: int = 256
  gains: bool = False
  dtype: str = "float32"
  kernels: str = "normal"

  def setup(self):
    start = initial.kernel(self.kernels)
    self.first, self.second, self.third = (
      transformer.dense(width, self.dtype, kernel_init=start)
      for width in (self.hidden, self.hidden, self.bottleneck)
    )
    self.codes = self.param("codes", initial.fan_in(self.bottleneck), (self.bottleneck, self.count))
    if self.gains:
      self.gain = self.param("gain", nn.initializers.ones, (1, self.count))

  def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b k"]:
    return prototypes.scores(self._narrow(x), self._last(), self.dtype)

  def mean(self, x: Float[Array, "*b d"]) -> Float[Array, "k"]:
    """Mean scores over all vectors: the last map is linear, so one mean vector passes it."""
    narrow = self._narrow(x)
    middle = jnp.mean(narrow.reshape(-1, narrow.shape[-1]), 0, keepdims=True)
    return prototypes.scores(middle, self._last(), self.dtype)[0]

  def _narrow(self, x):
    x = gelu.gelu(self.first(x))
    x = gelu.gelu(self.second(x))
    return prototypes.unit(self.third(x), 1e-12)

  def _last(self):
    length = jnp.sqrt(jnp.sum(jnp.square(self.codes), 0, keepdims=True))
    return self.codes / length * (self.gain if self.gains else 1.0)


class Centred(nn.Module):
  """softmax((scores - centre) / temperature), no gradient: [b n k] -> [b n k].

  The centre follows the mean scores of the global batch after it has been used; it starts at 0,
  lies in the collection "centres" and stays as it is where that cannot be changed. Source: DINO,
  section 3.1; iBOT.
  """

  momentum: float = 0.9

  @nn.compact
  def __call__(
    self,
    scores: Float[Array, "b n k"],
    temperature,
    mean: Float[Array, "k"],
    weight: Float[Array, "b n"] | None = None,
  ) -> Float[Array, "b n k"]:
    """`mean`: of the scores, over more than is given here if need be; `weight` does not matter."""
    centre = self.variable(CENTRES, "centre", jnp.zeros, mean.shape)
    now = centre.value
    if self.is_mutable_collection(CENTRES) and not self.is_initializing():
      centre.value = now * self.momentum + jax.lax.stop_gradient(mean) * (1.0 - self.momentum)
    scores = jax.lax.stop_gradient(scores)
    return nn.softmax((scores - now[None, None]) / temperature)


class Balanced(nn.Module):
  """Sinkhorn's balanced assignment in place of a centre: [b n k] -> [b n k] (DINOv2, section 4)."""

  iterations: int = 3

  @nn.compact
  def __call__(
    self, scores: Float[Array, "b n k"], temperature, mean=None, weight=None
  ) -> Float[Array, "b n k"]:
    """`weight` [b n] 0 leaves a token out of the balance; where all are 0, none is."""
    if weight is not None:
      weight = jnp.where(jnp.any(weight > 0), weight, 1.0)
    return sinkhorn.sinkhorn(
      scores / temperature, weight, temperature=1.0, iterations=self.iterations
    )
