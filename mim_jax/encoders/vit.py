"""Vision transformer. Letters: b batch, n tokens, v visible, k prefix tokens, d width."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.errors import InputError, unknown
from mim_jax.layers import basic, init
from mim_jax.layers.masking import Drop, Masking
from mim_jax.layers.position_embeddings import Positions, RelativeTable, SinCos
from mim_jax.layers.stack import check_layer

NORMS = ("affine", "plain", "none")
RECORDS = ("attention", "unnormed")


class ViT(nn.Module):
  """Pre-norm ViT: Tokens [b n d] -> Latents [b v d] (or [b n d], see `masking`) + prefix [b k d].

  dtype, the epsilon of norms and the initialisation of tokens (kernel_init) are those of the stack.

  Attributes:
    stack: layers.Stack.
    positions: layers.SinCos, Learned or NoPositions, added to the tokens.
    relative: layers.RelativeTable, added to the logits of attention; None without one.
    masking: of tokens that are not visible: layers.Drop or Replace.
    class_tokens: learned tokens before all others; with learned positions they have some too.
    registers: learned tokens without position behind them, also part of the prefix (DINOv2).
    pre_norm: whether a norm stands before the first block (CLIP).
    norm: behind the last block: "affine", "plain" (no parameters) or "none".
    record: in `Latents.extras` of the last layer: "attention" of the class tokens in the last block
      [b heads k k+v], where there are any; "unnormed", its Latents before the norm.
  """

  stack: nn.Module
  positions: Positions = SinCos()
  relative: RelativeTable | None = None
  masking: Masking = Drop()
  class_tokens: int = 1
  registers: int = 0
  pre_norm: bool = False
  norm: str = "affine"
  record: tuple[str, ...] = ()

  @property
  def layer_count(self) -> int:
    """Counts the layers."""
    return self.stack.depth

  @nn.compact
  def __call__(self, tokens: core.Tokens, mask: core.Mask | None = None, layers=None):
    """Encodes tokens to Latents.

    With `layers` (1 = after the first block) to a list of them, un-normed but for the last layer.
    """
    self._check(tokens)
    x, valid = self._embed(tokens, mask)
    (b, _, d), k, keys = x.shape, self.class_tokens + self.registers, valid
    if k:
      prefix = jnp.broadcast_to(self._prefix(d), (b, k, d))
      x = jnp.concatenate([prefix.astype(x.dtype), x], 1)
    if valid is not None:
      keys = jnp.concatenate([jnp.ones((b, k), bool), valid], 1)
    if self.pre_norm:
      x = basic.norm(self.stack.dtype, "pre_norm", epsilon=self.stack.epsilon)(x)
    queries = self.class_tokens if "attention" in self.record else 0
    wanted = (self.stack.depth,) if layers is None else tuple(layers)
    outputs = self.stack(x, keys, wanted, self._bias(tokens), queries)
    outputs, attention = outputs if queries else (outputs, None)
    final, found = self._norm(), []
    for layer, y in zip(wanted, outputs, strict=True):
      plain = core.Latents(y[:, k:], y[:, :k], valid)
      if check_layer(layer, self.stack.depth) < self.stack.depth:
        found.append(plain)
        continue
      extras = {} if attention is None else {"attention": attention}
      extras |= {"unnormed": plain} if "unnormed" in self.record else {}
      y = final(y)
      found.append(core.Latents(y[:, k:], y[:, :k], valid, extras))
    return found[0] if layers is None else found

  def _check(self, tokens):
    if self.norm not in NORMS:
      raise unknown("encoder.norm", self.norm, NORMS)
    for name in self.record:
      if name not in RECORDS:
        raise unknown("encoder.record", name, RECORDS)
    if self.relative and not (self.masking.keeps_grid and len(tokens.grid) == 2):
      raise InputError(
        f"encoder.relative needs all tokens of a 2-D grid; masking={self.masking!r}, grid "
        f"{tokens.grid}. Take layers.Replace as encoder.masking, or encoder.relative=None."
      )

  def _draw(self, name: str, shape: tuple[int, ...], start: str | None = None):
    """Makes a learned token or table; `start` is a word of layers.init, None the stack's."""
    return self.param(name, init.token(start or self.stack.kernel_init), shape)

  def _embed(self, tokens, mask):
    """Adds positions and masks: (tokens for the blocks, which of them are real)."""
    values = tokens.values if mask is None else self.masking.before(self._draw, tokens, mask)
    code = self.positions.code(self._draw, tokens.positions, tokens.grid, values.shape[-1])
    x = values if code is None else values + code.astype(values.dtype)
    return (x, tokens.valid) if mask is None else self.masking.after(x, tokens, mask)

  def _prefix(self, d: int):
    """Makes the class and register tokens, [1 k d], float32."""
    found = []
    if self.class_tokens:
      found.append(self._draw("class_token", (1, self.class_tokens, d)))
      code = self.positions.prefix(self._draw, self.class_tokens, d)
      found[0] = found[0] if code is None else found[0] + code
    if self.registers:
      found.append(self._draw("register_token", (1, self.registers, d)))
    return jnp.concatenate(found, 1)

  def _bias(self, tokens):
    """Computes relative positions as a bias of the logits; None without."""
    if self.relative is None:
      return None
    k = self.class_tokens + self.registers
    return self.relative.bias(self._draw, tokens.grid, k, self.stack.heads, self.stack.depth)

  def _norm(self) -> Callable:
    """Makes the norm behind the last block."""
    if self.norm == "none":
      return lambda x: x
    affine, epsilon = self.norm == "affine", self.stack.epsilon
    settings = dict(use_scale=affine, use_bias=affine, epsilon=epsilon)
    return basic.norm(self.stack.dtype, "norm", **settings)
