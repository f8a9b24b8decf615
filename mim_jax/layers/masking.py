"""Masking of tokens in encoders: drop or replace. Letters: b batch, n tokens, v visible, d width.

Like positions, a part of masking is no module: `draw` makes a parameter of the module that holds it
(see position_embeddings).
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array

from mim_jax import core
from mim_jax.ops import gather


@runtime_checkable
class Masking(Protocol):
  """Interface of masking in an encoder.

  Attributes:
    keeps_grid: whether all n tokens are kept, in their order.
  """

  @property
  def keeps_grid(self) -> bool:
    """See the class."""
    ...

  def before(self, draw: Callable, tokens: core.Tokens, mask: core.Mask) -> Array:
    """Masks the values [b n d] before positions are added."""
    ...

  def after(self, x: Array, tokens: core.Tokens, mask: core.Mask) -> tuple[Array, Array | None]:
    """Selects the input of the blocks after positions are added, and which of it is real."""
    ...


@dataclasses.dataclass(frozen=True)
class Drop:
  """Drops hidden tokens: the encoder runs on the visible ones alone (MAE)."""

  keeps_grid = False

  def before(self, draw: Callable, tokens: core.Tokens, mask: core.Mask) -> Array:
    """See Masking."""
    return tokens.values

  def after(self, x: Array, tokens: core.Tokens, mask: core.Mask) -> tuple[Array, Array | None]:
    """See Masking."""
    return core.take(x, mask.visible), mask.valid


@dataclasses.dataclass(frozen=True)
class Replace:
  """Replaces hidden tokens by a learned mask token: all n are kept (BEiT, SimMIM).

  Attributes:
    init: how that token starts, a word of `layers.init.token`; None as all tokens of the encoder.
  """

  init: str | None = None

  keeps_grid = True

  def before(self, draw: Callable, tokens: core.Tokens, mask: core.Mask) -> Array:
    """See Masking."""
    values = tokens.values
    stand_in = draw("mask_token", (1, 1, values.shape[-1]), self.init)
    seen = gather.member(mask.visible, values.shape[1], mask.valid)
    return jnp.where(seen[..., None], values, stand_in.astype(values.dtype))

  def after(self, x: Array, tokens: core.Tokens, mask: core.Mask) -> tuple[Array, Array | None]:
    """See Masking."""
    return x, tokens.valid
