"""Uniformly random masks. Letters: b batch, n tokens, v visible, m masked."""

from typing import Literal

import jax

from mim_jax import core
from mim_jax.errors import InputError


def random(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  ratio: float,
  rounding: Literal["down", "nearest"] = "down",
) -> core.Mask:
  """Every sample hides its own uniformly drawn share of the tokens (MAE, section 3).

  v = n (1 - ratio), rounded "down" as in MAE's reference or to the "nearest" (half to even) as in
  SparK's. InputError if nothing would be visible or masked.
  """
  b, n = tokens.positions.shape[:2]
  v = visible_count(n, ratio, rounding)
  order = jax.numpy.argsort(jax.random.uniform(key, (b, n)), axis=1)
  return core.make_mask(tokens, order[:, :v], order[:, v:])


def visible_count(n: int, ratio: float, rounding: str = "down") -> int:
  """How many of n tokens stay; refused where it leaves no visible or no masked token."""
  v = round(n * (1 - ratio)) if rounding == "nearest" else int(n * (1 - ratio))
  if not 0 < v < n:
    low, high = 1 / n, (n - 1) / n
    raise InputError(
      f"mask ratio {ratio} leaves {max(min(v, n), 0)} of {n} tokens visible. Allowed: about "
      f"{low:.4g} to {high:.4g} for {n} tokens. Change `objective.mask.ratio` or the patch size."
    )
  return v
