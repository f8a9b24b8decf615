"""Pre-norm transformer: residual, block, stack. Letters: b batch, n tokens, d width.

Compute runs in `dtype`; parameters, softmax and norms stay float32.
"""

from typing import Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.errors import InputError, unknown
from mim_jax.layers import basic
from mim_jax.layers.mlp import Mlp
from mim_jax.layers.self_attention import Attention

REMAT = {
  "none": None,
  "full": jax.checkpoint_policies.nothing_saveable,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Residual(nn.Module):
  """Residual: x + branch, with layer scale and per-sample drop path (given a 'dropout' key)."""

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
  key_bias: bool = True
  layer_scale: float | None = None
  activation: str = "gelu"
  epsilon: float = 1e-6
  kernel_init: str = "xavier"
  attention: Literal["xla", "cudnn"] | None = None
  dtype: str = "float32"
  queries: int = 0

  @nn.compact
  def __call__(self, x, valid=None, drop=None, bias=None, block=None):
    settings = self.heads, self.qkv_bias, self.attention, self.dtype, self.queries
    attend = Attention(*settings, self.key_bias, self.kernel_init, name="attention")
    mixed = attend(basic.norm(self.dtype, "norm1", epsilon=self.epsilon)(x), valid, bias, block)
    mixed, weights = mixed if self.queries else (mixed, None)
    x = Residual(self.layer_scale, name="residual1")(x, mixed, drop)
    y = basic.norm(self.dtype, "norm2", epsilon=self.epsilon)(x)
    y = Mlp(self.mlp_ratio, self.dtype, self.kernel_init, self.activation, name="mlp")(y, block)
    x = Residual(self.layer_scale, name="residual2")(x, y, drop)
    return (x, weights) if self.queries else x


class Stack(nn.Module):
  """Runs `depth` pre-norm blocks one after the other, [b n d] -> [b n d]; the width is the input's.

  Attributes:
    depth, heads: blocks, and attention heads of each.
    mlp_ratio: width inside the mlp, in widths of a token.
    qkv_bias, key_bias, kernel_init: see Attention.
    layer_scale: where the scale of each residual branch starts; None without one.
    drop_path: grows linearly from 0 to this over the depth, as in timm.
    activation: see Mlp.
    epsilon: of all norms.
    attention: "xla", "cudnn", or None for whichever fits.
    scan: compile one block and loop over stacked parameters (short compile, the same numbers).
    unroll: blocks a turn of that loop.
    remat: what the backward pass recomputes: none, dots (all but matrix products), full.
    dtype: of the computation.
  """

  depth: int
  heads: int
  mlp_ratio: float = 4.0
  qkv_bias: bool = True
  key_bias: bool = True
  layer_scale: float | None = None
  drop_path: float = 0.0
  activation: str = "gelu"
  epsilon: float = 1e-6
  kernel_init: str = "xavier"
  attention: str | None = None
  scan: bool = False
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, x: Float[Array, "b n d"], valid=None, layers=None, bias=None, queries: int = 0
  ):
    """Returns the last output, or with `layers` (1 = after the first block) the list of those.

    `valid` says which tokens are real, [b n]. `bias` [heads n n] is added to the logits of every
    block; [depth heads n n] has one for each. With `queries` a pair: that, and the attention of the
    first `queries` tokens in the last block, [b heads queries n].
    """
    if self.remat not in REMAT:
      raise unknown("remat", self.remat, REMAT)
    wanted = None if layers is None else [check_layer(i, self.depth) for i in layers]
    rates = jnp.linspace(0.0, self.drop_path, self.depth) if self.drop_path else None
    run = self._scanned if self.scan else self._unrolled
    keep = wanted is not None
    x, outputs, weights = run(x.astype(self.dtype), (valid, bias), rates, keep, queries)
    found = x if wanted is None else [outputs[i - 1] for i in wanted]
    return (found, weights) if queries else found

  def _block(self, name: str, queries: int) -> nn.Module:
    policy, block = REMAT[self.remat], Block
    if policy is not None:
      block = nn.remat(Block, policy=policy, prevent_cse=not self.scan)
    return block(
      heads=self.heads,
      mlp_ratio=self.mlp_ratio,
      qkv_bias=self.qkv_bias,
      key_bias=self.key_bias,
      layer_scale=self.layer_scale,
      activation=self.activation,
      epsilon=self.epsilon,
      kernel_init=self.kernel_init,
      attention=cast(Literal["xla", "cudnn"] | None, self.attention),
      dtype=self.dtype,
      queries=queries,
      name=name,
    )

  def _unrolled(self, x, shared, rates, keep, queries):
    """Runs the blocks in turn: (last output, all outputs, attention of the last block)."""
    outputs, weights, (valid, bias) = [], None, shared
    for i in range(self.depth):
      asked = queries if i == self.depth - 1 else 0
      own = bias[i] if bias is not None and bias.ndim == 4 else bias
      rate = None if rates is None else rates[i]
      x = self._block(f"block_{i:02d}", asked)(x, valid, rate, own, i + 1)
      x, weights = x if asked else (x, None)
      outputs.append(x)
    return x, outputs, weights

  def _scanned(self, x, shared, rates, keep, queries):
    """Runs one block in a loop, with the same result; all outputs are None unless kept."""
    valid, bias = shared
    each = bias is not None and bias.ndim == 4

    def body(block, x, rate, number, own):
      x = block(x, valid, rate, own if each else bias, number)
      x, weights = x if queries else (x, None)
      return x, (x if keep else None, weights)

    loop = nn.scan(
      body,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=self.depth,
      unroll=self.unroll,
    )
    x, (outputs, weights) = loop(
      self._block("blocks", queries),
      x,
      rates,
      jnp.arange(1, self.depth + 1),
      bias if each else None,
    )
    return x, outputs, weights[-1] if queries else None


def check_layer(layer: int, depth: int) -> int:
  """Resolves a layer number to 1..depth; negative ones count from the end (-1 is the last)."""
  if not (1 <= layer <= depth or -depth <= layer <= -1):
    raise InputError(
      f"layer {layer} does not exist: allowed are 1..{depth}, or -1..-{depth} from the end"
    )
  return layer if layer > 0 else depth + 1 + layer
