"""A small transformer over visible latents and mask tokens. Letters as in core."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import basic, init
from mim_jax.layers.position_embeddings import Positions, SinCos


class Transformer(nn.Module):
  """MAE's decoder: Latents -> predictions [b g m e] at the masked tokens.

  Tokens go in as [prefix, visible, masked]: with positions added, attention does not care for the
  order, so nothing is put back in place. Each group of targets is predicted on its own. dtype,
  the epsilon of norms and kernel_init are those of the stack.

  Attributes:
    width: of the stack.
    target_width: e.
    stack: layers.Stack.
    positions: as in encoders.ViT.
    bias: of the linear layer by which latents come in. Without it that layer starts uniform in
      +-1/sqrt(fan-in), and the mask token truncated normal (VideoMAE).
    last_epsilon: of the norm behind the stack, where it is another one.
  """

  width: int
  target_width: int
  stack: nn.Module
  positions: Positions = SinCos()
  bias: bool = True
  last_epsilon: float | None = None

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    b, g, m = mask.masked.shape
    dtype, start = self.stack.dtype, init.kernel(self.stack.kernel_init)
    first = start if self.bias else init.fan_in(latents.values.shape[-1])
    embed = basic.dense(self.width, dtype, "embed", use_bias=self.bias, kernel_init=first)
    word = None if self.bias else "trunc_normal"
    token = self._draw("mask_token", (1, 1, 1, self.width), word)
    code = self.positions.code(self._draw, mask.positions, mask.grid, self.width)
    x, valid = sequence(embed, token, latents, mask, code)
    x = self.stack(x, valid)
    last = self.stack.epsilon if self.last_epsilon is None else self.last_epsilon
    x = basic.norm(dtype, "norm", epsilon=last)(x[:, x.shape[1] - m :])
    head = basic.dense(self.target_width, dtype, "head", kernel_init=start)
    return head(x).reshape(b, g, m, -1)

  def _draw(self, name: str, shape: tuple[int, ...], start: str | None = None):
    return self.param(name, init.token(start or self.stack.kernel_init), shape)


def sequence(embed: nn.Module, token, latents: core.Latents, mask: core.Mask, code):
  """Makes a decoder's input: ([prefix, visible, masked] [b*g k+v+m width], which are real or None).

  `embed` maps latents to the decoder's width; `token` [1 1 1 width] stands in for what is masked;
  `code` [b n width] is the positions of all tokens, None without any. Entries of weight 0 are not
  real, so that nothing attends to what is not asked for.
  """
  b, g, m = mask.masked.shape
  k, v, width = latents.prefix.shape[1], latents.values.shape[1], token.shape[-1]
  seen = embed(jnp.concatenate([latents.prefix, latents.values], 1))
  asked = jnp.broadcast_to(token.astype(seen.dtype), (b, g, m, width))
  if code is not None:
    where = jnp.broadcast_to(code.astype(seen.dtype), (b, *code.shape[1:]))
    seen = jnp.concatenate([seen[:, :k], seen[:, k:] + core.take(where, mask.visible)], 1)
    asked = asked + core.take(where, mask.masked)
  seen = jnp.broadcast_to(seen[:, None], (b, g, k + v, width))
  x = jnp.concatenate([seen, asked], 2).reshape(b * g, k + v + m, width)
  if mask.valid is None and mask.all_asked:
    return x, None
  shown = jnp.ones((b, v), bool) if mask.valid is None else mask.valid
  real = jnp.concatenate([jnp.ones((b, k), bool), shown], 1)
  real = jnp.broadcast_to(real[:, None], (b, g, k + v))
  return x, jnp.concatenate([real, mask.weight > 0], 2).reshape(b * g, k + v + m)
