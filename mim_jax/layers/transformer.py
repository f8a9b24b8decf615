"""Pre-norm transformer: dense, attention, mlp, block, stack. Letters: b batch, n tokens, d width.

Compute runs in `dtype`; parameters, softmax and norms stay float32.
"""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from mim_jax.errors import InputError, unknown
from mim_jax.layers import init
from mim_jax.ops import attention, gelu
from mim_jax.ops import norm as norms

REMAT = {
  "none": None,
  "full": jax.checkpoint_policies.nothing_saveable,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


ACTIVATIONS: dict[str, Callable] = {
  "gelu": gelu.gelu,
  "gelu_tanh": nn.gelu,
  "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),  # CLIP
  "swiglu": lambda x: nn.silu(x[..., : x.shape[-1] // 2]) * x[..., x.shape[-1] // 2 :],
}


def dense(width: int, dtype: str, name: str | None = None, **settings) -> nn.Dense:
  """A linear map with Xavier-uniform kernel and zero bias, MAE's initialiser."""
  settings.setdefault("kernel_init", nn.initializers.xavier_uniform())
  return nn.Dense(width, dtype=jnp.dtype(dtype), name=name, **settings)


class LayerNorm(nn.Module):
  """Layer normalisation over the last axis, statistics in float32; gives `dtype`."""

  epsilon: float = 1e-6
  use_scale: bool = True
  use_bias: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    shape = x.shape[-1:]
    scale = self.param("scale", nn.initializers.ones, shape) if self.use_scale else jnp.ones(shape)
    bias = self.param("bias", nn.initializers.zeros, shape) if self.use_bias else jnp.zeros(shape)
    x, scale, bias = (jnp.asarray(value) for value in (x, scale, bias))  # also of numpy
    return norms.layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)


def norm(dtype: str, name: str | None = None, **settings) -> LayerNorm:
  """LayerNorm with epsilon 1e-6."""
  return LayerNorm(dtype=dtype, name=name, **settings)


class Attention(nn.Module):
  """Self-attention with one fused projection (Xavier over the fused matrix), [b n d] -> [b n d].

  With `queries` it also returns whom the first `queries` tokens attend to, [b heads queries n].
  `valid` says which keys are real, for all queries [b n] or for each [b n n]. `bias` [heads n n] is
  added to the scaled logits, as relative positions are. Without `key_bias` only queries and values
  have one, each its own (BEiT). `kernels` is a word of `initial`; `block` the number of this block.
  """

  heads: int
  qkv_bias: bool = True
  implementation: Literal["xla", "cudnn"] | None = None
  dtype: str = "float32"
  queries: int = 0
  key_bias: bool = True
  kernels: str = "xavier"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b n d"],
    valid: Bool[Array, "b n"] | Bool[Array, "b n n"] | None = None,
    bias: Float[Array, "h n n"] | None = None,
    block=None,
  ):
    b, n, d = x.shape
    if d % self.heads:
      raise InputError(f"attention: width {d} is not a multiple of {self.heads} heads")
    qkv = self._project(x)
    query, key, value = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)
    keep = None if valid is None else valid.reshape(b, 1, -1, n)
    bias = None if bias is None else bias[None]
    mixed = attention.attend(query, key, value, bias, keep, self.implementation)
    kernel = init.kernel(self.kernels, block)
    out = dense(d, self.dtype, "out", kernel_init=kernel)(mixed.reshape(b, n, d))
    if not self.queries:
      return out
    asked = None if bias is None else bias[:, :, : self.queries]
    return out, attention.weights(query[:, : self.queries], key, keep, asked)

  def _project(self, x):
    """Queries, keys and values beside each other, [b n 3d]."""
    d, fused = x.shape[-1], self.qkv_bias and self.key_bias
    kernel = init.kernel(self.kernels, fused=3)
    qkv = dense(3 * d, self.dtype, "qkv", use_bias=fused, kernel_init=kernel)(x)
    if fused or not self.qkv_bias:
      return qkv
    query, value = (
      self.param(f"{name}_bias", nn.initializers.zeros, (d,)) for name in ("query", "value")
    )
    added = jnp.concatenate([query, jnp.zeros_like(query), value])
    return qkv + added.astype(qkv.dtype)[None, None]


class Mlp(nn.Module):
  """Two linear maps around an activation, [... d] -> [... d].

  `activation` is "gelu" (exact), "gelu_tanh", "quick_gelu" (CLIP) or "swiglu": two maps up, one
  through a sigmoid times itself gates the other; 2/3 of the width, in multiples of 8 (DINOv2).
  """

  ratio: float = 4.0
  dtype: str = "float32"
  kernels: str = "xavier"
  activation: str = "gelu"

  @nn.compact
  def __call__(self, x, block=None):
    if self.activation not in ACTIVATIONS:
      raise unknown("activation", self.activation, ACTIVATIONS)
    width, up = int(x.shape[-1] * self.ratio), init.kernel(self.kernels)
    if self.activation == "swiglu":
      width = 2 * (-(-int(width * 2 / 3) // 8) * 8)
    y = ACTIVATIONS[self.activation](dense(width, self.dtype, "up", kernel_init=up)(x))
    down = init.kernel(self.kernels, block)
    return dense(x.shape[-1], self.dtype, "down", kernel_init=down)(y)


class Residual(nn.Module):
  """x + branch, with layer scale and per-sample drop path (active given a 'dropout' key)."""

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
  """Pre-norm transformer block: attention then mlp, [b n d] -> [b n d]; `queries` as Attention."""

  heads: int
  mlp_ratio: float = 4.0
  qkv_bias: bool = True
  layer_scale: float | None = None
  attention: Literal["xla", "cudnn"] | None = None
  dtype: str = "float32"
  queries: int = 0
  key_bias: bool = True
  kernels: str = "xavier"
  epsilon: float = 1e-6
  activation: str = "gelu"

  @nn.compact
  def __call__(self, x, valid=None, drop=None, bias=None, block=None):
    settings = self.heads, self.qkv_bias, self.attention, self.dtype, self.queries
    attend = Attention(*settings, self.key_bias, self.kernels, name="attention")
    mixed = attend(norm(self.dtype, "norm1", epsilon=self.epsilon)(x), valid, bias, block)
    mixed, weights = mixed if self.queries else (mixed, None)
    x = Residual(self.layer_scale, name="residual1")(x, mixed, drop)
    y = norm(self.dtype, "norm2", epsilon=self.epsilon)(x)
    y = Mlp(self.mlp_ratio, self.dtype, self.kernels, self.activation, name="mlp")(y, block)
    x = Residual(self.layer_scale, name="residual2")(x, y, drop)
    return (x, weights) if self.queries else x


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
  queries: int = 0
  key_bias: bool = True
  kernels: str = "xavier"
  epsilon: float = 1e-6
  activation: str = "gelu"

  @nn.compact
  def __call__(
    self, x: Float[Array, "b n d"], valid=None, layers: tuple[int, ...] | None = None, bias=None
  ):
    """The last output, or with `layers` (1 = after the first block) the list of those.

    `bias` [heads n n] is added to the logits of every block; [depth heads n n] has one for each.
    With `queries` a pair: that, and whom the first `queries` tokens attend to in the last block.
    """
    if self.remat not in REMAT:
      raise unknown("remat", self.remat, REMAT)
    wanted = None if layers is None else [check_layer(i, self.depth) for i in layers]
    rates = jnp.linspace(0.0, self.drop_path, self.depth) if self.drop_path else None
    run = self._scanned if self.scan else self._unrolled
    x, outputs, weights = run(x.astype(self.dtype), (valid, bias), rates, wanted is not None)
    found = x if wanted is None else [outputs[i - 1] for i in wanted]
    return (found, weights) if self.queries else found

  def _block(self) -> Callable:
    policy = REMAT[self.remat]
    return Block if policy is None else nn.remat(Block, policy=policy, prevent_cse=not self.scan)

  def _settings(self) -> dict:
    names = "heads mlp_ratio qkv_bias layer_scale attention dtype key_bias kernels epsilon"
    return {name: getattr(self, name) for name in f"{names} activation".split()}

  def _unrolled(self, x, shared, rates, keep):
    """(last output, all outputs, attention of the last block)."""
    outputs, weights, (valid, bias) = [], None, shared
    for i in range(self.depth):
      queries = self.queries if i == self.depth - 1 else 0
      block = self._block()(**self._settings(), queries=queries, name=f"block_{i:02d}")
      own = bias[i] if bias is not None and bias.ndim == 4 else bias
      x = block(x, valid, None if rates is None else rates[i], own, i + 1)
      x, weights = x if queries else (x, None)
      outputs.append(x)
    return x, outputs, weights

  def _scanned(self, x, shared, rates, keep):
    """The same with one block; all outputs are None where they are not to be kept."""
    valid, bias = shared
    each = bias is not None and bias.ndim == 4

    def body(block, x, rate, number, own):
      x = block(x, valid, rate, own if each else bias, number)
      x, weights = x if self.queries else (x, None)
      return x, (x if keep else None, weights)

    loop = nn.scan(
      body,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=self.depth,
      unroll=self.unroll,
    )
    block = self._block()(**self._settings(), queries=self.queries, name="blocks")
    x, (outputs, weights) = loop(
      block, x, rates, jnp.arange(1, self.depth + 1), bias if each else None
    )
    return x, outputs, weights[-1] if self.queries else None


def check_layer(layer: int, depth: int) -> int:
  """A layer number in 1..depth; negative ones count from the end (-1 is the last)."""
  if not (1 <= layer <= depth or -depth <= layer <= -1):
    raise InputError(
      f"layer {layer} does not exist: allowed are 1..{depth}, or -1..-{depth} from the end"
    )
  return layer if layer > 0 else depth + 1 + layer
