"""The words every room shares: Tokens, Mask, Latents, Step, and the two functions that join them.

Axis letters, the same in every file: b batch, n tokens, v visible, g groups of targets, m masked
per
group, d width, e target width, p position coordinates, k prefix (class and register) tokens,
h w c t height, width, channels, time.
"""

import dataclasses

import jax
import jax.numpy as jnp

Array = jax.Array


def _static(default):
  return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tokens:
  """A signal cut into tokens.

  Attributes:
    values: [b n d], float.
    positions: [b n p], float32, in units of patches, rows before columns.
    valid: [b n], bool; None when every token is real.
    grid: tokens along each axis, () when they lie on no grid. Static.
  """

  values: Array
  positions: Array
  valid: Array | None = None
  grid: tuple[int, ...] = _static(())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mask:
  """What is visible and what is to be predicted. The counts v, g, m are static.

  Attributes:
    visible: [b v], int32, indices of tokens the encoder may see.
    masked: [b g m], int32, indices of tokens to predict.
    weight: [b g m], float32, 0 for entries that only fill up a draw of varying length.
    positions: [b n p], float32, of all tokens, so that a predictor knows where the masked ones are.
    valid: [b v], bool, False for entries of `visible` that only fill up; None when all are real.
    grid: as in Tokens. Static.
  """

  visible: Array
  masked: Array
  weight: Array
  positions: Array
  valid: Array | None = None
  grid: tuple[int, ...] = _static(())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Latents:
  """What an encoder returns.

  Attributes:
    values: [b v d] (or [b n d] where the encoder keeps all tokens), in the order of its input.
    prefix: [b k d], class and register tokens; k may be 0.
  """

  values: Array
  prefix: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pyramid(Latents):
  """Latents of a hierarchical encoder, with the maps of its stages.

  Attributes:
    maps: one [b h w d] a stage, finest first, zero at hidden sites.
  """

  maps: tuple[Array, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Step:
  """Where training stands. All randomness of a step comes from `key = fold_in(seed key, index)`.

  Attributes:
    key: a PRNG key.
    index: int32 scalar, updates done so far.
    progress: float32 scalar in [0, 1], index / number of updates of the run.
  """

  key: Array
  index: Array
  progress: Array


def take(values: Array, index: Array) -> Array:
  """The tokens at `index`, each in [0, n): values [b n e], index [b ...] -> [b ... e]."""
  if index.shape[0] != values.shape[0]:
    raise ValueError(f"take: {values.shape[0]} rows of values but {index.shape[0]} of indices")
  flat = index.reshape(index.shape[0], -1, 1)
  taken = jnp.take_along_axis(values, flat, axis=1, mode="promise_in_bounds")
  return taken.reshape(*index.shape, values.shape[-1])


def weighted_mean(values: Array, weight: Array) -> Array:
  """Mean of per-token losses over the whole (global) batch, float32; shapes must be equal."""
  if values.shape != weight.shape:
    raise ValueError(f"weighted_mean: values {values.shape} and weight {weight.shape} differ")
  values, weight = values.astype(jnp.float32), weight.astype(jnp.float32)
  return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1e-12)


def split(
  tokens: Tokens, visible: Array, masked: Array, weight: Array | None = None, valid=None
) -> Mask:
  """The Mask of `tokens` with these index sets: visible [b v], masked [b m] or [b g m]."""
  masked = masked[:, None] if masked.ndim == 2 else masked
  weight = jnp.ones(masked.shape, jnp.float32) if weight is None else weight
  return Mask(visible, masked, weight, tokens.positions, valid, tokens.grid)
