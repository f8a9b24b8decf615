"""Transformer with RoPE, RMSNorm and no biases, as in CAPI.

Compute runs in `dtype`; parameters, softmax, norms and angles stay float32. Letters: b batch,
n tokens (queries), c context tokens (keys), d width, w width of a head.
"""

import dataclasses
from typing import Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError, unknown
from mim_jax.layers import basic
from mim_jax.layers.stack import REMAT, Residual
from mim_jax.ops import attention, gelu, rope

LAYOUTS = ("axial", "coupled")  # see ops.rope.rotate


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Turns:
  """Angles of queries [b n w] and keys [b c w], and which keys are real [b c] (None: all).

  axes: of how many coordinates the angles are. Static.
  """

  queries: Array
  keys: Array
  valid: Array | None = None
  axes: int = dataclasses.field(default=2, metadata={"static": True})


class Places(NamedTuple):
  """Positions of tokens in [0, 1]: coordinates [b n p], and which are real [b n] (None: all)."""

  coordinates: Array
  valid: Array | None = None

  def with_registers(self, count: int) -> "Places":
    """Prepends `count` registers around the box of the real tokens, [b k+n p]."""
    if not count:
      return self
    around = rope.edge(self.coordinates, count, self.valid)
    coordinates = jnp.concatenate([around, self.coordinates], 1)
    if self.valid is None:
      return Places(coordinates)
    return Places(coordinates, jnp.pad(self.valid, ((0, 0), (count, 0)), constant_values=True))

  def angles(self, width: int, heads: int, freq_range: tuple[float, float]) -> Array:
    """Computes rotation angles of a head, [b n w]; InputError where heads do not divide."""
    if width % heads:
      raise InputError(f"attention: width {width} is not a multiple of {heads} heads")
    return rope.angles(self.coordinates, width // heads, freq_range)


def norm(dtype: str, name: str | None = None, **settings) -> nn.RMSNorm:
  """Makes an RMSNorm with epsilon 1e-5, statistics in float32."""
  return nn.RMSNorm(epsilon=1e-5, dtype=jnp.dtype(dtype), name=name, **settings)


class Attention(nn.Module):
  """Attention of x [b n d] to context [b c d] -> [b n d], RoPE on queries and keys.

  Four projections without bias, each Xavier-uniform on its own. `layout` is "axial" (a rotation) or
  "coupled" (CAPI's published weights), see ops.rope.rotate.
  """

  heads: int
  layout: str = "axial"
  implementation: Literal["xla", "cudnn"] | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"], context: Float[Array, "b c d"], turns: Turns):
    if self.layout not in LAYOUTS:
      raise unknown("layout", self.layout, LAYOUTS)
    b, n, d = x.shape
    w = d // self.heads
    query, key, value = (
      basic.dense(d, self.dtype, name, use_bias=False)(y).reshape(b, -1, self.heads, w)
      for name, y in (("query", x), ("key", context), ("value", context))
    )
    planes = turns.axes if self.layout == "axial" else 1
    mixed = attention.attend(
      rope.rotate(query, turns.queries, planes),
      rope.rotate(key, turns.keys, planes),
      value,
      keep=None if turns.valid is None else turns.valid[:, None, None, :],
      implementation=self.implementation,
    )
    return basic.dense(d, self.dtype, "out", use_bias=False)(mixed.reshape(b, n, d))


class Mlp(nn.Module):
  """Two linear layers without bias around an exact (erf) GELU, [b n d] -> [b n d]."""

  ratio: float = 4.0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    up = basic.dense(int(x.shape[-1] * self.ratio), self.dtype, "up", use_bias=False)
    down = basic.dense(x.shape[-1], self.dtype, "down", use_bias=False)
    return down(gelu.gelu(up(x)))


class Block(nn.Module):
  """Pre-norm block: attention (to itself, or to `context`, which is not normed here), then mlp.

  `drop_path` is the same in every block; it acts when a "dropout" key is given.
  """

  heads: int
  mlp_ratio: float = 4.0
  drop_path: float = 0.0
  layout: str = "axial"
  attention: Literal["xla", "cudnn"] | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, context, turns: Turns):
    drop = jnp.asarray(self.drop_path, jnp.float32) if self.drop_path else None
    attend = Attention(self.heads, self.layout, self.attention, self.dtype, name="attention")
    y = norm(self.dtype, "norm1")(x)
    y = attend(y, y if context is None else context, turns)
    x = Residual(name="residual1")(x, y, drop)
    y = Mlp(self.mlp_ratio, self.dtype, name="mlp")(norm(self.dtype, "norm2")(x))
    return Residual(name="residual2")(x, y, drop)


class RopeStack(nn.Module):
  """Runs `depth` blocks with rotary positions, [b n d]; the width is the input's.

  Attributes:
    depth, heads: blocks, and attention heads of each.
    mlp_ratio: width inside the mlp, in widths of a token.
    drop_path: the same in every block.
    layout: of a head's channels, "axial" or "coupled", see Attention.
    freq_range: turns of the slowest and the fastest channel over the unit square.
    attention, scan, remat, dtype: as in layers.Stack.
  """

  depth: int
  heads: int
  mlp_ratio: float = 4.0
  drop_path: float = 0.0
  layout: str = "axial"
  freq_range: tuple[float, float] = (7e-4, 7.0)
  attention: str | None = None
  scan: bool = False
  remat: str = "none"
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"], turns: Turns, context=None, keep: bool = False):
    """Returns the last output, and with `keep` the list of all outputs beside it (else None).

    With `context` [b c d] all blocks attend to that, else to themselves.
    """
    if self.remat not in REMAT:
      raise unknown("remat", self.remat, REMAT)
    run = self._scanned if self.scan else self._unrolled
    return run(x.astype(self.dtype), turns, context, keep)

  def angles(self, places: Places, width: int) -> Array:
    """Computes rotation angles of tokens of `width` at these places, [b n w]."""
    return places.angles(width, self.heads, self.freq_range)

  def _block(self, name: str) -> nn.Module:
    policy, block = REMAT[self.remat], Block
    if policy is not None:
      block = nn.remat(Block, policy=policy, prevent_cse=not self.scan)
    return block(
      heads=self.heads,
      mlp_ratio=self.mlp_ratio,
      drop_path=self.drop_path,
      layout=self.layout,
      attention=cast(Literal["xla", "cudnn"] | None, self.attention),
      dtype=self.dtype,
      name=name,
    )

  def _unrolled(self, x, turns, context, keep):
    outputs = []
    for i in range(self.depth):
      x = self._block(f"block_{i:02d}")(x, context, turns)
      outputs.append(x)
    return x, outputs if keep else None

  def _scanned(self, x, turns, context, keep):
    def body(block, x, _):
      x = block(x, context, turns)
      return x, (x if keep else None)

    loop = nn.scan(
      body,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=self.depth,
    )
    x, outputs = loop(self._block("blocks"), x, None)
    return x, list(outputs) if keep else None
