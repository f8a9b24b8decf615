"""What becomes of tokens that are not visible. Letters: b batch, n tokens, v visible, d width.

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
  """What an encoder asks of a way of hiding.

  Attributes:
    keeps_grid: whether all n tokens are kept, in their order.
  """

  @property
  def keeps_grid(self) -> bool:
    """See the class."""
    ...

  def before(self, draw: Callable, tokens: core.Tokens, mask: core.Mask) -> Array:
    """Changes the values [b n d] before positions are added."""
    ...

  def after(self, x: Array, tokens: core.Tokens, mask: core.Mask) -> tuple[Array, Array | None]:
    """Picks what the blocks work on once positions are added, and which of it is real."""
    ...


@dataclasses.dataclass(frozen=True)
class Drop:
  """Drops what is hidden: the encoder is as short as the visible set (MAE)."""

  keeps_grid = False

  def before(self, draw: Callable, tokens: core.Tokens, mask: core.Mask) -> Array:
    """See Masking."""
    return tokens.values

  def after(self, x: Array, tokens: core.Tokens, mask: core.Mask) -> tuple[Array, Array | None]:
    """See Masking."""
    return core.take(x, mask.visible), mask.valid


@dataclasses.dataclass(frozen=True)
class Replace:
  """Puts one learned token in place of each hidden one: all n are kept (BEiT, SimMIM).

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
