"""The MLP of a transformer block, and its activations."""

from collections.abc import Callable

import flax.linen as nn

from mim_jax.errors import unknown
from mim_jax.layers import basic, init
from mim_jax.ops import gelu

ACTIVATIONS: dict[str, Callable] = {
  "gelu": gelu.gelu,
  "gelu_tanh": nn.gelu,
  "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),  # CLIP
  "swiglu": lambda x: nn.silu(x[..., : x.shape[-1] // 2]) * x[..., x.shape[-1] // 2 :],
}


class Mlp(nn.Module):
  """Two linear layers around an activation, [... d] -> [... d].

  `activation` is "gelu" (exact), "gelu_tanh", "quick_gelu" (CLIP) or "swiglu": two layers up, one
  through a sigmoid times itself gates the other; 2/3 of the width, in multiples of 8 (DINOv2).
  """

  ratio: float = 4.0
  dtype: str = "float32"
  kernel_init: str = "xavier"
  activation: str = "gelu"

  @nn.compact
  def __call__(self, x, block=None):
    if self.activation not in ACTIVATIONS:
      raise unknown("activation", self.activation, ACTIVATIONS)
    width, up = int(x.shape[-1] * self.ratio), init.kernel(self.kernel_init)
    if self.activation == "swiglu":
      width = 2 * (-(-int(width * 2 / 3) // 8) * 8)
    y = ACTIVATIONS[self.activation](basic.dense(width, self.dtype, "up", kernel_init=up)(x))
    down = init.kernel(self.kernel_init, block)
    return basic.dense(x.shape[-1], self.dtype, "down", kernel_init=down)(y)
