"""A small transformer over visible latents and mask tokens. Letters as in core."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.layers import init, transformer
from mim_jax.ops import positions


class Transformer(nn.Module):
  """MAE's decoder: Latents -> predictions [b g m e] at the masked tokens.

  Tokens go in as [prefix, visible, masked]: with positions added, attention does not care for the
  order, so nothing is put back in place. Each group of targets is predicted on its own. With
  `plain` the latents come in by a linear map without bias, uniform in +-1/sqrt(fan-in), and the
  mask token starts cut at one deviation (VideoMAE).
  `kernels`: a word of `layers.initial`. `epsilon` is of all norms, `last_epsilon` of the last one.
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
  plain: bool = False
  kernels: str = "xavier"
  epsilon: float = 1e-6
  last_epsilon: float | None = None

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    b, g, m = mask.masked.shape
    start = dict(kernel_init=init.kernel(self.kernels))
    plain = dict(use_bias=False, kernel_init=init.fan_in(latents.values.shape[-1]))
    embed = transformer.dense(self.width, self.dtype, "embed", **(plain if self.plain else start))
    drawn = init.token("cut" if self.plain else self.kernels)
    token = self.param("mask_token", drawn, (1, 1, 1, self.width))
    x, valid = sequence(embed, token, latents, mask)
    x = transformer.Stack(**self._stack(), name="stack")(x, valid)
    last = self.epsilon if self.last_epsilon is None else self.last_epsilon
    x = transformer.norm(self.dtype, "norm", epsilon=last)(x[:, x.shape[1] - m :])
    head = transformer.dense(self.target_width, self.dtype, "head", **start)
    return head(x).reshape(b, g, m, -1)

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio attention scan unroll remat dtype kernels epsilon"
    return {name: getattr(self, name) for name in names.split()}


def sequence(embed: nn.Module, token, latents: core.Latents, mask: core.Mask):
  """What a decoder works on: ([prefix, visible, masked] [b*g k+v+m width], which are real or None).

  `embed` maps latents to the decoder's width; `token` [1 1 1 width] stands in for what is masked.
  """
  b, g, m = mask.masked.shape
  k, v, width = latents.prefix.shape[1], latents.values.shape[1], token.shape[-1]
  seen = embed(jnp.concatenate([latents.prefix, latents.values], 1))
  where = positions.sincos(mask.positions, width).astype(seen.dtype)
  seen = jnp.concatenate([seen[:, :k], seen[:, k:] + core.take(where, mask.visible)], 1)
  asked = token.astype(seen.dtype) + core.take(where, mask.masked)
  seen = jnp.broadcast_to(seen[:, None], (b, g, k + v, width))
  x = jnp.concatenate([seen, asked], 2).reshape(b * g, k + v + m, width)
  if mask.valid is None:
    return x, None
  real = jnp.concatenate([jnp.ones((b, k), bool), mask.valid], 1)
  real = jnp.broadcast_to(real[:, None], (b, g, k + v))
  return x, jnp.concatenate([real, mask.weight > 0], 2).reshape(b * g, k + v + m)
