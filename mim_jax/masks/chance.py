"""Masks of a ratio that is itself drawn. Letters: b batch, n tokens, m masked at most, h w grid."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import blocks


def blocks_by_chance(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  chance: float = 0.5,
  ratio: tuple[float, float] = (0.1, 0.5),
  aspect: float = 0.3,
) -> core.Mask:
  """With this chance hides blocks, at most a uniformly drawn share of the tokens; else nothing.

  Every image has its own coin and its own share. Blocks as in BEiT (blocks.block_wise), but of an
  area from (side // 3)^2 on, and what they do not reach stays visible (iBOT, section 3.3 and its
  reference): at 14 x 14 and (0.1, 0.5) the mean share, where the coin says so, is 0.297.
  `masked` [b 1 m] is padded to the largest share, with weight 0, `visible` to all n with `valid`
  (its padding repeats a visible token). InputError where ratio would leave nothing visible.
  """
  b, n = tokens.positions.shape[:2]
  _check(tokens.grid, ratio)
  coin_key, share_key, block_key, order_key = jax.random.split(key, 4)
  share = jax.random.uniform(share_key, (b,), minval=ratio[0], maxval=ratio[1])
  share = jnp.where(jax.random.bernoulli(coin_key, chance, (b,)), share, 0.0)
  sizes = float((min(tokens.grid) // 3) ** 2), float(n)
  hidden = blocks.grown(block_key, b, tokens.grid, share * n, sizes, aspect).reshape(b, n)
  noise: Float[Array, "b n"] = jax.random.uniform(order_key, (b, n))
  order = jnp.argsort(jnp.where(hidden, noise - 1.0, noise), axis=1).astype(jnp.int32)
  count, m = jnp.sum(hidden, 1, keepdims=True), math.floor(ratio[1] * n)
  visible = order[:, ::-1]
  valid = jnp.arange(n)[None] < n - count
  weight = (jnp.arange(m)[None] < count).astype(jnp.float32)
  visible = jnp.where(valid, visible, visible[:, :1])
  return core.make_mask(tokens, visible, order[:, :m], weight[:, None], valid)


def _check(grid: tuple[int, ...], ratio: tuple[float, float]) -> None:
  most = math.floor(ratio[1] * math.prod(grid))
  if len(grid) != 2 or not 0 < ratio[0] <= ratio[1] or not 0 < most < math.prod(grid):
    raise InputError(
      f"mask: ratio {tuple(ratio)} on the grid {tuple(grid)}. Blocks need a 2-D grid, and a range "
      "(low, high) of shares between 0 and 1 that hides a token and leaves one. Change "
      "`objective.mask.ratio` or the patch size."
    )
