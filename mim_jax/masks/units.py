"""Masks in units coarser than a token. Letters: b batch, n tokens, u units, v visible, m masked."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core
from mim_jax.errors import InputError


def random_blocks(
  key, tokens: core.Tokens, scores=None, progress=None, *, ratio: float, unit: int
) -> core.Mask:
  """Hides whole squares of unit x unit tokens, a uniform draw of ceil(ratio x squares) of them.

  SimMIM, section 3.2: squares of 32 pixels whatever the patch, so that neighbours of one patch do
  not give it away. InputError where squares do not tile the grid or nothing would be seen or
  hidden.
  """
  members = squares(tokens.grid, unit)  # [u unit^2]
  hidden = hidden_count(len(members), ratio)
  b = tokens.positions.shape[0]
  order = jnp.argsort(jax.random.uniform(key, (b, len(members))), axis=1)
  index = jnp.asarray(members)[order].reshape(b, -1)  # [b n], square after square
  m = hidden * unit**2
  return core.make_mask(tokens, index[:, m:], index[:, :m])


def hidden_count(squares: int, ratio: float) -> int:
  """ceil(ratio x squares), refused where it leaves no visible or no masked square."""
  hidden = math.ceil(round(ratio * squares, 6))  # 0.55 x 100 is a little more than 55 in floats
  if not 0 < hidden < squares:
    raise InputError(
      f"mask ratio {ratio} hides {hidden} of {squares} squares. Allowed: above 0 to at most "
      f"{(squares - 1) / squares:.4g}. Change `objective.mask.ratio` or `objective.mask.unit`."
    )
  return hidden


def squares(grid: tuple[int, ...], unit: int) -> np.ndarray:
  """The tokens of each square of unit x unit tokens, both row by row: int32 [u unit^2]."""
  if len(grid) != 2 or unit < 1 or grid[0] % unit or grid[1] % unit:
    raise InputError(
      f"mask: squares of {unit} x {unit} tokens do not tile the grid {grid}. `objective.mask.unit` "
      "must divide both sides of a 2-D grid; 32 pixels over the patch size is published."
    )
  h, w = grid
  cells = np.arange(h * w, dtype=np.int32).reshape(h // unit, unit, w // unit, unit)
  return cells.transpose(0, 2, 1, 3).reshape(-1, unit**2)
