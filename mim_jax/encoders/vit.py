"""Vision transformer. Letters: b batch, n tokens, v visible, k prefix tokens, d width."""

import math

import flax.linen as nn
import jax.numpy as jnp

from mim_jax import core
from mim_jax.errors import InputError, unknown
from mim_jax.layers import init, transformer
from mim_jax.ops import gather, positions, relative_positions, resize


class ViT(nn.Module):
  """Pre-norm ViT with fixed sine-cosine positions: Tokens [b n d] -> Latents [b v d] + prefix [b k
  d].

  `hidden` says what becomes of tokens that are not visible: "drop" (MAE: the encoder is as short as
  the
  visible set) or "token" (SimMIM, BEiT: a learned token stands in for each, all n are kept).
  With `layers` (1 = after the first block) a list of Latents, un-normed but for the last layer;
  with `raw` that one is un-normed too. With `weights` a pair: that, and whom the class tokens
  attend to in the last block, [b heads k k+v]. `norm` is "affine", "plain" (no parameters) or
  "none".
  Class tokens normal(0.02) without position, as in MAE.

  `positions` is "sincos", "learned" (class tokens have some too) or "none"; learned ones belong to
  the grid `table`, None for the tokens' own, and are resized to others; `antialias` and `stretch`
  as in `ops.resize.bicubic`. With `relative` one table of relative positions is shared by all
  blocks, as in BEiT's pre-training; with "each" every block has its own. `registers` are learned
  tokens without position behind the class tokens, part of the prefix (DINOv2). With `pre_norm` a
  norm stands before the first block (CLIP). `epsilon` is of all norms. `key_bias` and `kernels`:
  see `transformer.Attention`; `activation`: `transformer.Mlp`. With `blank` the mask token
  starts at 0 (iBOT).
  """

  depth: int
  heads: int
  mlp_ratio: float = 4.0
  qkv_bias: bool = True
  class_tokens: int = 1
  hidden: str = "drop"
  layer_scale: float | None = None
  drop_path: float = 0.0
  attention: str | None = None
  scan: bool = False
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"
  norm: str = "affine"
  positions: str = "sincos"
  relative: bool | str = False
  key_bias: bool = True
  kernels: str = "xavier"
  table: tuple[int, int] | None = None
  epsilon: float = 1e-6
  activation: str = "gelu"
  registers: int = 0
  pre_norm: bool = False
  antialias: bool = False
  stretch: float = 0.0
  blank: bool = False

  @property
  def layer_count(self) -> int:
    """How many layers there are to ask for."""
    return self.depth

  @nn.compact
  def __call__(
    self, tokens: core.Tokens, mask: core.Mask | None = None, layers=None, raw=False, weights=False
  ):
    if self.hidden not in ("drop", "token"):
      raise unknown("encoder.hidden", self.hidden, ("drop", "token"))
    if self.norm not in ("affine", "plain", "none"):
      raise unknown("encoder.norm", self.norm, ("affine", "plain", "none"))
    if self.positions not in ("sincos", "learned", "none"):
      raise unknown("encoder.positions", self.positions, ("sincos", "learned", "none"))
    x, valid = self._hide(tokens, mask)
    b, _, d = x.shape
    k = self.class_tokens + self.registers
    if k:
      prefix = jnp.broadcast_to(self._prefix(d), (b, k, d))
      x = jnp.concatenate([prefix.astype(x.dtype), x], 1)
    if valid is not None:
      valid = jnp.concatenate([jnp.ones((b, k), bool), valid], 1)
    if self.pre_norm:
      x = transformer.norm(self.dtype, "pre_norm", epsilon=self.epsilon)(x)
    queries = self.class_tokens if weights else 0
    stack = transformer.Stack(**self._stack(), queries=queries, name="stack")
    wanted = (self.depth,) if layers is None else layers
    outputs = stack(x, valid, tuple(wanted), self._relative(tokens))
    outputs, attended = outputs if queries else (outputs, None)
    affine = self.norm == "affine"
    free = dict(use_scale=affine, use_bias=affine, epsilon=self.epsilon)
    final = transformer.norm(self.dtype, "norm", **free)
    latents = []
    for layer, y in zip(wanted, outputs, strict=True):
      last = transformer.check_layer(layer, self.depth) == self.depth
      y = final(y) if last and not raw and self.norm != "none" else y
      latents.append(core.Latents(y[:, k:], y[:, :k]))
    found = latents[0] if layers is None else latents
    return (found, attended) if weights else found

  def _prefix(self, d: int):
    """The class and register tokens, [1 k d], float32."""
    start, shape, found = init.token(self.kernels), (1, self.class_tokens, d), []
    if self.class_tokens:
      found.append(self.param("class_token", start, shape))
      if self.positions == "learned":
        found[0] = found[0] + self.param("class_positions", start, shape)
    if self.registers:
      found.append(self.param("register_token", start, (1, self.registers, d)))
    return jnp.concatenate(found, 1)

  def _hide(self, tokens, mask):
    """The tokens the blocks work on, positions added, and which of them are real."""
    values = tokens.values
    if mask is not None and self.hidden == "token":
      start = nn.initializers.zeros if self.blank else init.token(self.kernels)
      stand_in = self.param("mask_token", start, (1, 1, values.shape[-1]))
      seen = gather.member(mask.visible, values.shape[1], mask.valid)
      values = jnp.where(seen[..., None], values, stand_in.astype(values.dtype))
    x = self._placed(values, tokens)
    if mask is None or self.hidden == "token":
      return x, tokens.valid
    return core.take(x, mask.visible), mask.valid

  def _placed(self, values, tokens):
    """Token values [b n d] with their positions added."""
    if self.positions == "none":
      return values
    if self.positions == "learned":
      return values + self._learned(tokens.grid, values.shape[1:]).astype(values.dtype)
    code = positions.sincos(tokens.positions, values.shape[-1])
    return values + code.astype(values.dtype)

  def _learned(self, grid, shape):
    """Learned positions [1 n d], resized from the grid `table` where that is another one."""
    n, d = shape
    n = n if self.table is None else math.prod(self.table)
    table = self.param("positions_table", init.token(self.kernels), (1, n, d))
    if self.table in (None, grid):
      return table
    square = table.reshape(1, *self.table, d)
    new = resize.bicubic(square, grid, antialias=self.antialias, stretch=self.stretch)
    return new.reshape(1, -1, d)

  def _relative(self, tokens):
    """The bias of relative positions, [heads k+n k+n], from the table; None without one.

    With a table for each block [depth heads k+n k+n].
    """
    if self.relative not in (True, False, "each"):
      raise unknown("encoder.relative", str(self.relative), ("True", "False", "each"))
    if not self.relative:
      return None
    if self.hidden != "token" or len(tokens.grid) != 2:
      raise InputError(
        f"encoder.relative needs all tokens of a 2-D grid; hidden={self.hidden!r}, grid "
        f"{tokens.grid}. Set encoder.hidden='token', or encoder.relative=False."
      )
    k = self.class_tokens + self.registers
    rows = relative_positions.table_rows(tokens.grid, k)
    name, shape = "relative_table", (rows, self.heads)
    if self.relative == "each":
      name, shape = "relative_tables", (self.depth, *shape)
    table = self.param(name, nn.initializers.zeros, shape)
    index = relative_positions.table_index(tokens.grid, k)
    return jnp.moveaxis(jnp.take(table, index, axis=-2), -1, -3)

  def _stack(self) -> dict:
    names = "depth heads mlp_ratio qkv_bias layer_scale drop_path attention scan unroll remat dtype"
    names += " key_bias kernels epsilon activation"
    return {name: getattr(self, name) for name in names.split()}
