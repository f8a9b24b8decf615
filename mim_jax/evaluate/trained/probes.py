"""Probes: heads trained on an encoder. Letters: b batch, n tokens, d width, k classes."""

import flax.linen as nn
import jax.numpy as jnp

from mim_jax.layers import basic, cross


def batch_norm(train: bool) -> nn.BatchNorm:
  """Makes a batch norm without scale and bias; with `train` False it uses running statistics."""
  return nn.BatchNorm(
    use_running_average=not train,
    use_fast_variance=False,
    use_scale=False,
    use_bias=False,
    momentum=0.9,
    epsilon=1e-6,
    name="norm",
  )


class Linear(nn.Module):
  """Linear probe: pooled features [b d] -> logits [b k], a norm, then a linear layer, normal(std).

  norm: "layer" (MAE's fine-tuning), "batch" (its linear probe: no scale, no bias, epsilon 1e-6) or
  "none". With `train` mean and variance are the batch's, and the running ones are updated.
  """

  classes: int
  norm: str = "layer"
  std: float = 2e-5

  @nn.compact
  def __call__(self, x, train: bool = False):
    x = x.astype(jnp.float32)
    if self.norm == "layer":
      x = basic.norm("float32", "norm")(x)
    elif self.norm == "batch":
      x = batch_norm(train)(x)
    start = nn.initializers.normal(self.std) if self.std else nn.initializers.zeros
    return nn.Dense(self.classes, kernel_init=start, name="classifier")(x)


class Attentive(nn.Module):
  """Attentive probe: tokens [b n d] -> logits [b k], a learned query's attention, a linear layer.

  heads: of the attention; 0 takes one for 64 numbers of width. Tokens are batch-normed over the
  batch, without scale and bias, as in AIM (arXiv 2401.08541): some encoders have a narrow spread.
  """

  classes: int
  heads: int = 0
  std: float = 0.01

  @nn.compact
  def __call__(self, x, train: bool = False):
    d = x.shape[-1]
    x = batch_norm(train)(x.astype(jnp.float32))
    query = self.param("query", nn.initializers.normal(0.02), (1, 1, d))
    query = jnp.broadcast_to(query, (x.shape[0], 1, d))
    found = cross.CrossAttention(self.heads or max(1, d // 64), name="attention")(query, x)[:, 0]
    return nn.Dense(self.classes, kernel_init=nn.initializers.normal(self.std), name="classifier")(
      found
    )
