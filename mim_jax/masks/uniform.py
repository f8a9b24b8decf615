"""Uniformly random masks. Letters: b batch, n tokens, v visible, m masked."""

import jax

from mim_jax import core
from mim_jax.errors import InputError


def random(key, tokens: core.Tokens, guide=None, progress=None, *, ratio: float) -> core.Mask:
  """Every sample hides its own uniformly drawn int-rounded share of the tokens (MAE, section 3).

  v = int(n (1 - ratio)) as in the reference. InputError if nothing would be visible or masked.
  """
  b, n = tokens.positions.shape[:2]
  v = visible_count(n, ratio)
  order = jax.numpy.argsort(jax.random.uniform(key, (b, n)), axis=1)
  return core.split(tokens, order[:, :v], order[:, v:])


def visible_count(n: int, ratio: float) -> int:
  """int(n (1 - ratio)), refused where it leaves no visible or no masked token."""
  v = int(n * (1 - ratio))
  if not 0 < v < n:
    low, high = 1 / n, (n - 1) / n
    raise InputError(
      f"mask ratio {ratio} leaves {max(min(v, n), 0)} of {n} tokens visible. Allowed: about {low:.4g} "
      f"to {high:.4g} for {n} tokens. Change `objective.mask.ratio` or the patch size."
    )
  return v
