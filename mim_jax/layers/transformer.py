"""Pre-norm transformer: dense, attention, mlp, block, stack. Letters: b batch, n tokens, d width.

Compute runs in `dtype`; parameters, softmax and norms stay float32.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from mim_jax.errors import InputError, unknown

REMAT = {
  "none": None,
  "full": jax.checkpoint_policies.nothing_saveable,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def dense(width: int, dtype: str, name: str | None = None, **settings) -> nn.Dense:
  """A linear map with Xavier-uniform kernel and zero bias, the initialiser of MAE and BEiT heads."""
  settings.setdefault("kernel_init", nn.initializers.xavier_uniform())
  return nn.Dense(width, dtype=jnp.dtype(dtype), name=name, **settings)


def norm(dtype: str, name: str | None = None, **settings) -> nn.LayerNorm:
  """LayerNorm with epsilon 1e-6 and the two-pass variance, statistics in float32."""
  return nn.LayerNorm(
    epsilon=1e-6, use_fast_variance=False, dtype=jnp.dtype(dtype), name=name, **settings
  )


class Attention(nn.Module):
  """Self-attention with one fused projection (Xavier over the fused matrix), [b n d] -> [b n d]."""

  heads: int
  qkv_bias: bool = True
  implementation: str | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"], valid: Bool[Array, "b n"] | None = None):
    b, n, d = x.shape
    if d % self.heads:
      raise InputError(f"attention: width {d} is not a multiple of {self.heads} heads")
    qkv = dense(3 * d, self.dtype, "qkv", use_bias=self.qkv_bias)(x)
    query, key, value = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)
    keep = None if valid is None else valid[:, None, None, :]
    mixed = jax.nn.dot_product_attention(
      query, key, value, mask=keep, implementation=self.implementation
    )
    return dense(d, self.dtype, "out")(mixed.reshape(b, n, d))


class Mlp(nn.Module):
  """Two linear maps around an exact (erf) GELU, [... d] -> [... d]."""

  ratio: float = 4.0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    y = dense(int(x.shape[-1] * self.ratio), self.dtype, "up")(x)
    return dense(x.shape[-1], self.dtype, "down")(nn.gelu(y, approximate=False))


class Residual(nn.Module):
  """x + branch, with optional layer scale and per-sample drop path (active when a 'dropout' key is given)."""

  layer_scale: float | None = None

  @nn.compact
  def __call__(self, x, branch, drop=None):
    if self.layer_scale is not None:
      scale = self.param("scale", nn.initializers.constant(self.layer_scale), (x.shape[-1],))
      branch = branch * scale.astype(branch.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    if drop is not None and self.has_rng("dropout"):
      shape = (x.shape[0],) + (1,) * (x.ndim - 1)
      kept = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - drop, shape)
      branch = jnp.where(kept, branch / (1.0 - drop).astype(branch.dtype), jnp.zeros_like(branch))
    return x + branch


class Block(nn.Module):
  """Pre-norm transformer block: attention then mlp, [b n d] -> [b n d]."""

  heads: int
  mlp_ratio: float = 4.0
  qkv_bias: bool = True
  layer_scale: float | None = None
  attention: str | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, valid=None, drop=None):
    attend = Attention(self.heads, self.qkv_bias, self.attention, self.dtype, name="attention")
    x = Residual(self.layer_scale, name="residual1")(
      x, attend(norm(self.dtype, "norm1")(x), valid), drop
    )
    mlp = Mlp(self.mlp_ratio, self.dtype, name="mlp")
    return Residual(self.layer_scale, name="residual2")(x, mlp(norm(self.dtype, "norm2")(x)), drop)


class Stack(nn.Module):
  """`depth` blocks one after the other, [b n d] -> [b n d].

  `scan` compiles one block and loops over stacked parameters (short compile, the same numbers);
  `remat` names what the backward pass recomputes: none, dots (all but matrix products), full.
  `drop_path` grows linearly from 0 to its value over the depth, as in timm.
  """

  depth: int
  heads: int
  mlp_ratio: float = 4.0
  qkv_bias: bool = True
  layer_scale: float | None = None
  drop_path: float = 0.0
  attention: str | None = None
  scan: bool = False
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"], valid=None, layers: tuple[int, ...] | None = None):
    """Returns the last output, or with `layers` (1 = after the first block) the list of those outputs."""
    if self.remat not in REMAT:
      raise unknown("remat", self.remat, REMAT)
    wanted = None if layers is None else [check_layer(i, self.depth) for i in layers]
    rates = jnp.linspace(0.0, self.drop_path, self.depth) if self.drop_path else None
    run = self._scanned if self.scan else self._unrolled
    return run(x.astype(self.dtype), valid, rates, wanted)

  def _block(self) -> Callable:
    policy = REMAT[self.remat]
    return Block if policy is None else nn.remat(Block, policy=policy, prevent_cse=not self.scan)

  def _settings(self) -> dict:
    return dict(
      heads=self.heads,
      mlp_ratio=self.mlp_ratio,
      qkv_bias=self.qkv_bias,
      layer_scale=self.layer_scale,
      attention=self.attention,
      dtype=self.dtype,
    )

  def _unrolled(self, x, valid, rates, wanted):
    outputs = []
    for i in range(self.depth):
      block = self._block()(**self._settings(), name=f"block_{i:02d}")
      x = block(x, valid, None if rates is None else rates[i])
      outputs.append(x)
    return x if wanted is None else [outputs[i - 1] for i in wanted]

  def _scanned(self, x, valid, rates, wanted):
    def body(block, x, rate):
      x = block(x, valid, rate)
      return x, (None if wanted is None else x)

    loop = nn.scan(
      body,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=self.depth,
      unroll=self.unroll,
    )
    x, outputs = loop(self._block()(**self._settings(), name="blocks"), x, rates)
    return x if wanted is None else [outputs[i - 1] for i in wanted]


def check_layer(layer: int, depth: int) -> int:
  """A layer number in 1..depth; negative ones count from the end (-1 is the last)."""
  if not (1 <= layer <= depth or -depth <= layer <= -1):
    raise InputError(
      f"layer {layer} does not exist: allowed are 1..{depth}, or -1..-{depth} from the end"
    )
  return layer if layer > 0 else depth + 1 + layer
