"""Draw masks uniformly, token by token. Letters: b batch, n tokens, v visible, m masked."""

from typing import Literal

import jax

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import padded


def random(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  ratio: float,
  rounding: Literal["down", "nearest"] = "down",
) -> core.Mask:
  """Hides a uniformly drawn fraction of the tokens, of each sample its own (MAE, section 3).

  v = n (1 - ratio), rounded "down" as in MAE's reference or to the "nearest" (half to even) as in
  SparK's; n counts the real tokens of the sample. InputError if nothing would be visible or masked.
  """
  b, n = tokens.positions.shape[:2]
  visible_count(n, ratio, rounding)
  noise = jax.random.uniform(key, (b, n))
  return padded.partition(tokens, noise, lambda k: rounded(k, ratio, rounding))


def random_keep_few(
  key, tokens: core.Tokens, scores=None, progress=None, *, ratio: float
) -> core.Mask:
  """Shows int(n (1 - ratio)) uniformly drawn tokens of each sample, but at least one.

  Source: CropMAE, section 3 (arXiv 2403.17823): 2 of 196 at a ratio of 0.985. InputError if the
  ratio is not in (0, 1) or nothing would be masked.
  """
  b, n = tokens.positions.shape[:2]
  shown_tokens(n, ratio)
  noise = jax.random.uniform(key, (b, n))
  return padded.partition(tokens, noise, lambda k: max(1, int(k * (1 - ratio))))


def visible_count(n: int, ratio: float, rounding: str = "down") -> int:
  """Computes how many of n tokens stay; InputError where none or all would be visible."""
  v = rounded(n, ratio, rounding)
  if not 0 < v < n:
    low, high = 1 / max(n, 1), 1 - 1 / max(n, 1)
    raise InputError(
      f"mask ratio {ratio} leaves {max(min(v, n), 0)} of {n} tokens visible. Allowed: about "
      f"{low:.4g} to {high:.4g} for {n} tokens. Change `objective.mask.ratio` or the patch size."
    )
  return v


def rounded(n: int, ratio: float, rounding: str = "down") -> int:
  """Computes n (1 - ratio), rounded "down" or to the "nearest"."""
  return round(n * (1 - ratio)) if rounding == "nearest" else int(n * (1 - ratio))


def shown_tokens(n: int, ratio: float) -> int:
  """Computes int(n (1 - ratio)), at least 1; InputError where all n would be visible."""
  v = max(1, int(n * (1 - ratio)))
  if not 0 < ratio < 1 or v >= n:
    raise InputError(
      f"mask ratio {ratio} leaves {v} of {n} tokens visible. Allowed: above 0, below 1, with at "
      "least one token masked. Change `objective.mask.ratio` or the patch size."
    )
  return v
