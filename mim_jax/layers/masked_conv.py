"""Masked (sparse) convolution: layers on images with hidden cells.

Every map is zero at hidden sites where a convolution reads it, so that nothing of a hidden cell
reaches a visible one: sparse convolution, computed densely (SparK, arXiv 2301.03580, section 3.1).
`seen` [b i j] says which cells are visible; cells are as large as the network's stride, so that
each is a whole number of sites of every map. Letters: b batch, h w sites of a map, i j cells,
c channels, v visible, n cells.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.layers import basic
from mim_jax.layers.stack import check_layer
from mim_jax.ops import gather, patches

STEMS = (1, 2, 4)  # strides before the first stage


def canvas(tokens: core.Tokens, mask: core.Mask | None, patch: int) -> tuple[Array, Array | None]:
  """Unpatchifies cells of raw pixels: (image [b h w c], hidden cells zero; `seen` [b i j]).

  Padding is hidden, whatever the mask says.
  """
  if len(tokens.grid) != 2:
    raise InputError(f"convolutional encoder: tokens on grid {tokens.grid}; it needs rows, columns")
  seen = None if mask is None else visible(mask)
  if tokens.valid is not None:
    real = tokens.valid.reshape(-1, *tokens.grid)
    seen = real if seen is None else seen & real
  return hide(patches.unpatchify(tokens.values, tokens.grid, patch), seen), seen


def visible(mask: core.Mask) -> Bool[Array, "b i j"]:
  """Tells which cells are visible, on their grid."""
  listed = gather.member(mask.visible, mask.positions.shape[1], mask.valid)
  return listed.reshape(-1, *mask.grid)


def hide(x: Float[Array, "b h w c"], seen: Bool[Array, "b i j"] | None) -> Float[Array, "b h w c"]:
  """Zeroes a map at hidden sites; all sites are visible where `seen` is None."""
  return x if seen is None else jnp.where(at_sites(seen, x), x, jnp.zeros_like(x))


def at_sites(seen: Bool[Array, "b i j"], x: Float[Array, "b h w c"]) -> Bool[Array, "b h w 1"]:
  """Tells which sites of the map `x` are visible; InputError where no whole sites fill a cell."""
  (b, i, j), (h, w) = seen.shape, x.shape[1:3]
  if h % i or w % j:
    raise InputError(
      f"convolutional encoder: a map of {h} x {w} sites does not fit {i} x {j} mask cells. "
      "Cells must be as large as the stride of the network: change `patch` or the image size."
    )
  sites = jnp.broadcast_to(seen[:, :, None, :, None], (b, i, h // i, j, w // j))
  return sites.reshape(b, h, w, 1)


def pyramid(maps: list[Array], seen: Array | None, mask: core.Mask | None, layers=None):
  """Makes the Pyramid up to the last map, or with `layers` (1 = first stage) a list of them.

  Its values are the sites of that map, of the last one only the visible: [b v c], without prefix.
  What is not `seen` [b i j] is not valid.
  """
  wanted = (len(maps),) if layers is None else layers
  found = []
  for layer in wanted:
    upto = tuple(maps[: check_layer(layer, len(maps))])
    b, h, w, c = upto[-1].shape
    values = upto[-1].reshape(b, h * w, c)
    valid = None if seen is None else at_sites(seen, upto[-1]).reshape(b, h * w)
    if mask is not None and h * w == mask.positions.shape[1]:
      values, valid = core.take(values, mask.visible), mask.valid
    found.append(core.Pyramid(values, values[:, :0], valid, maps=upto))
  return found[0] if layers is None else found


def stem_stride(patch: int, stages: int) -> int:
  """Computes the stem's stride, such that `stages` halvings of it make cells of `patch`."""
  stride = patch >> (stages - 1)
  if stride not in STEMS or stride << (stages - 1) != patch:
    allowed = [s << (stages - 1) for s in STEMS]
    raise InputError(
      f"convolutional encoder: patch {patch} is not the stride of a network of {stages} stages. "
      f"Allowed: {', '.join(map(str, allowed))}. Change `patch` or the number of stages."
    )
  return stride


def conv(width: int, kernel: int, dtype: str, name: str, stride: int = 1, **settings) -> nn.Conv:
  """Makes a convolution of 1 / stride of the sides, zero-padded equally on all sides."""
  side = (kernel - stride + 1) // 2
  return nn.Conv(
    width,
    (kernel, kernel),
    strides=(stride, stride),
    padding=((side, side), (side, side)),
    dtype=jnp.dtype(dtype),
    name=name,
    **settings,
  )


class LayerNorm(nn.Module):
  """Layer norm over channels, zero at hidden sites; nothing is shared between sites."""

  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], seen: Bool[Array, "b i j"] | None = None):
    return hide(basic.norm(self.dtype, "norm")(x), seen)


class BatchNorm(nn.Module):
  """Batch norm over the visible sites of the whole (global) batch, zero at hidden sites.

  Where the collection "batch_stats" may change (in training) it normalises by the batch and moves
  the running mean and unbiased variance by 1 - momentum; elsewhere it normalises by these.
  InputError where they are not given.
  """

  momentum: float = 0.9
  epsilon: float = 1e-5
  zero_scale: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], seen: Bool[Array, "b i j"] | None = None):
    c = x.shape[-1]
    start = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
    scale = self.param("scale", start, (c,))
    bias = self.param("bias", nn.initializers.zeros, (c,))
    mean, variance = self._statistics(x.astype(jnp.float32), seen)
    mean, factor, bias = (
      v.reshape(1, 1, 1, c) for v in (mean, jax.lax.rsqrt(variance + self.epsilon) * scale, bias)
    )
    return hide(((x.astype(jnp.float32) - mean) * factor + bias).astype(self.dtype), seen)

  def _statistics(self, x, seen):
    """Computes the mean and variance to normalise by, each [c]."""
    training = self.is_mutable_collection("batch_stats")
    if not training and not self.has_variable("batch_stats", "mean"):
      raise InputError(
        f"{'/'.join(self.path)}: batch norm without running averages. Pass the state's `stats`."
      )
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (x.shape[-1],))
    running_variance = self.variable("batch_stats", "variance", jnp.ones, (x.shape[-1],))
    if not training:
      return running_mean.value, running_variance.value
    mean, variance, count = moments(x, seen)
    if not self.is_initializing():
      unbiased = variance * count / jnp.maximum(count - 1.0, 1.0)
      for running, now in ((running_mean, mean), (running_variance, unbiased)):
        now = jax.lax.stop_gradient(now)
        running.value = self.momentum * running.value + (1.0 - self.momentum) * now
    return mean, variance


def moments(
  x: Float[Array, "b h w c"], seen: Bool[Array, "b i j"] | None
) -> tuple[Float[Array, "c"], Float[Array, "c"], Float[Array, ""]]:
  """Computes each channel's mean and biased variance over visible sites, and their number."""
  sites = jnp.ones((*x.shape[:3], 1), bool) if seen is None else at_sites(seen, x)
  count = jnp.sum(sites, dtype=jnp.float32)
  mean = jnp.sum(x, (0, 1, 2), where=sites) / count
  away = jnp.square(x - mean.reshape(1, 1, 1, -1))
  return mean, jnp.sum(away, (0, 1, 2), where=sites) / count, count
