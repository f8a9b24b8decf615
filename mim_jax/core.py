"""The words every room shares: Tokens, Mask, Latents, Step, Outcome, and what joins them.

Axis letters, the same in every file: b batch, n tokens, v visible, g groups of targets, m masked
per group, d width, e target width, p position coordinates, k prefix (class and register) tokens or
classes, h w c t height, width, channels, time.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

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
    present: [b n], bool, which of the tokens are real (`Tokens.valid`); None when all are.
    grid: as in Tokens. Static.
    copies: masks of one sample that lie one after the other along b. Static.
    all_asked: whether no weight is 0, so that nothing that attends to masked tokens has to look.
      Static; False where that is not known.
  """

  visible: Array
  masked: Array
  weight: Array
  positions: Array
  valid: Array | None = None
  present: Array | None = None
  grid: tuple[int, ...] = _static(())
  copies: int = _static(1)
  all_asked: bool = _static(False)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Corrupted:
  """What a corruption makes of inputs.

  Attributes:
    inputs: what is given in their place, of the same shape and type.
    kept: [b n], bool, masked tokens that were left as they are (BERT's tenth), the only ones that
      may show.
  """

  inputs: Array
  kept: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Latents:
  """What an encoder returns.

  Attributes:
    values: [b v d] (or [b n d] where the encoder keeps all tokens), in the order of its input.
    prefix: [b k d], class and register tokens; k may be 0.
    valid: which of `values` are real, bool [b v] or [b n]; None when all are.
    extras: what the encoder was set to record beside them, by name.
  """

  values: Array
  prefix: Array
  valid: Array | None = None
  extras: dict = dataclasses.field(default_factory=dict)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pyramid(Latents):
  """Latents of a hierarchical encoder, with the maps of its stages.

  Attributes:
    maps: one [b h w d] a stage, finest first, zero at hidden sites.
  """

  maps: tuple[Array, ...] = ()


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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outcome:
  """What an objective returns: the loss, and what it saw on the way there.

  The step uses loss and metrics; pictures, documentation and promises read the rest, which costs
  nothing where nobody does.

  Attributes:
    loss: float32 scalar.
    metrics: {name: scalar}.
    mask: the Mask that was drawn, of the first view where there are several; None without one.
    predictions: [b g m e] at `mask.masked`, or {name: such} of several tasks; None without any.
    targets: like predictions.
    weight: the sum of weights that the loss was divided by, for accumulation over parts of a batch.
    more: what else painters draw: "scores" [b n] that the mask followed, "context" signals.
  """

  loss: Array
  metrics: dict = dataclasses.field(default_factory=dict)
  mask: Mask | None = None
  predictions: Any = None
  targets: Any = None
  weight: Array | None = None
  more: dict = dataclasses.field(default_factory=dict)


def painted_by(painter: str) -> Callable:
  """Marks a target with the name of the painter (see pictures) that draws what it asks for."""

  def marked(target):
    target.painter = painter
    return target

  return marked


def averaged(losses: Array, mask: Mask, predictions=None, targets=None, **more) -> Outcome:
  """Makes the Outcome of per-token losses [b g m]: their mean over all that is asked for."""
  loss = weighted_mean(losses, mask.weight)
  weight = jnp.sum(mask.weight.astype(jnp.float32))
  return Outcome(loss, {}, mask, predictions, targets, weight, more)


def repeated(tree, copies: int):
  """Repeats every row of a tree `copies` times, sample by sample: [b ...] -> [b*copies ...].

  With `copies` 1 it is the tree itself.
  """
  return tree if copies == 1 else jax.tree.map(lambda x: jnp.repeat(x, copies, axis=0), tree)


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


def make_mask(
  tokens: Tokens, visible: Array, masked: Array, weight: Array | None = None, valid=None
) -> Mask:
  """Makes the Mask of `tokens` with these index sets: visible [b v], masked [b m] or [b g m].

  Tokens that are not real are neither shown nor asked for, whatever the sets say: a real one of the
  same set takes their place, with `valid` False or weight 0.
  """
  masked = masked[:, None] if masked.ndim == 2 else masked
  every = weight is None and tokens.valid is None
  weight = jnp.ones(masked.shape, jnp.float32) if weight is None else weight
  if tokens.valid is not None:
    visible, valid = _real(tokens.valid[:, None], visible[:, None], visible, valid)
    visible, valid = visible[:, 0], valid[:, 0]
    masked, real = _real(tokens.valid[:, None], masked, visible, weight > 0)
    weight = jnp.where(real, weight, 0.0)
  present, grid = tokens.valid, tokens.grid
  return Mask(visible, masked, weight, tokens.positions, valid, present, grid, all_asked=every)


def _real(present: Array, index: Array, otherwise: Array, listed: Array | None):
  """Replaces padding in lists of tokens: (index [b g k], which entries are listed and real).

  present [b 1 n] says which tokens are real. In the place of padding comes the first of the list
  that is listed and real, else the first that is real, else the first of `otherwise` [b v].
  """
  exists = jnp.take_along_axis(present, index, axis=2)
  real = exists if listed is None else exists & listed.reshape(exists.shape)
  choice = jnp.concatenate(
    [index, jnp.broadcast_to(otherwise[:, None, :1], (*index.shape[:2], 1))], 2
  )
  better = jnp.where(real, 3, jnp.where(exists, 2, 0))
  better = jnp.pad(better, ((0, 0), (0, 0), (0, 1)), constant_values=1)
  best = jnp.take_along_axis(choice, jnp.argmax(better, 2, keepdims=True), axis=2)
  return jnp.where(exists, index, best), real
