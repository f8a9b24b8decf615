"""Linear prediction of each latent's target. Letters: b, g groups, n tokens, m masked, d, e."""

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.layers import basic, init
from mim_jax.ops import patches


class Linear(nn.Module):
  """Linear decoder of masked tokens: Latents [b n d] -> predictions [b g m e].

  cell: tokens along the side of the square that one latent stands for. 1 for a ViT; where a
  hierarchical encoder returns fewer latents than tokens, each predicts all tokens of its square (a
  1x1 convolution and a pixel shuffle in SimMIM, section 3.3). kernel_init: a word of `layers.init`,
  or "torch" for PyTorch's default of kernel and bias. InputError where the latents do not fit.
  """

  target_width: int
  cell: int = 1
  kernel_init: str = "torch"
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    values, n = latents.values, mask.positions.shape[1]
    if values.shape[1] * self.cell**2 != n:
      raise InputError(
        f"linear predictor: {values.shape[1]} latents, each for {self.cell} x {self.cell} tokens, "
        f"do not cover {n} tokens. The encoder must keep masked tokens (layers.Replace as "
        "encoder.masking), and `predictor.cell` must be the side of what one latent stands for."
      )
    values = core.take(values, mask.masked) if self.cell == 1 else values
    made = self._head(values.shape[-1])(values)
    return made if self.cell == 1 else core.take(self._shuffled(made, mask.grid), mask.masked)

  def _head(self, inputs: int) -> nn.Dense:
    drawn = init.fan_in(inputs)
    start = dict(kernel_init=drawn, bias_init=drawn)
    if self.kernel_init != "torch":
      start = dict(kernel_init=init.kernel(self.kernel_init))
    return basic.dense(self.cell**2 * self.target_width, self.dtype, "head", **start)

  def _shuffled(self, made: Array, grid: tuple[int, ...]) -> Array:
    """Splits predictions of squares into those of their tokens, row by row (pixel shuffle)."""
    coarse = tuple(side // self.cell for side in grid)
    cells = patches.unpatchify(made, coarse, self.cell)  # [b h w e]
    return cells.reshape(cells.shape[0], -1, self.target_width)
