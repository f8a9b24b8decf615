"""Share one budget of visible tokens among modalities. Letters: b batch, s modalities, n tokens."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import padded
from mim_jax.ops import gather


def dirichlet(
  key,
  tokens: core.Tokens,
  scores=None,
  progress=None,
  *,
  visible: int,
  concentration: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> core.Mask:
  """Shows exactly `visible` tokens of a pool; how many of each modality is drawn for each sample.

  The pool lies on the grid (s, ...), modality by modality. Fractions of the budget come from a
  Dirichlet distribution (ones: uniform over all splits; a modality of concentration 0 is never
  seen). Counts are rounded half to even, the seen tokens of each modality are uniform; where the
  counts miss the total by one, a random token is dropped, or a random hidden one added.
  A group of targets a modality: all its places [b s n/s], with weight 0 for those that are seen.
  Of a padded sample the budget is the same fraction of the real tokens; where none of these may be
  seen, nothing is asked for.
  InputError where concentration and modalities or visible and tokens do not fit.
  Source: MultiMAE (arXiv 2204.01678), section 3.4.
  """
  b, n = tokens.positions.shape[:2]
  s = _modalities(tokens.grid, n, visible, concentration)
  share_key, place_key, repair_key = jax.random.split(key, 3)
  fractions, total, real = shares(share_key, b, concentration), None, None
  if tokens.valid is None:
    counts = jnp.round(visible * fractions)  # [b s]
  else:
    total = _budget(tokens.valid, visible, concentration)
    real = tokens.valid.reshape(b * s, n // s)
    counts = jnp.round(total[:, None].astype(jnp.float32) * fractions)
  draws = padded.last(jax.random.uniform(place_key, (b * s, n // s)), real)
  rank = gather.inverse(jnp.argsort(draws, axis=1)).reshape(b, s, n // s)
  chosen = rank < counts[..., None].astype(rank.dtype)
  never = jnp.asarray([2.0 * (c == 0) for c in concentration], jnp.float32)[None, :, None]
  # The chosen first, then hidden ones that may be seen, each in random order.
  order = jnp.where(chosen, 0.0, 1.0) + never + jax.random.uniform(repair_key, chosen.shape)
  order = padded.last(order.reshape(b, n), tokens.valid)
  seen, valid = jnp.argsort(order, axis=1)[:, :visible], None
  if total is not None:
    seen, valid = padded.listed(seen, jnp.zeros_like(total), total, visible)
  places = jnp.broadcast_to(jnp.arange(n, dtype=seen.dtype).reshape(1, s, -1), rank.shape)
  weight = 1.0 - gather.member(seen, n, valid).astype(jnp.float32)
  if total is not None:
    weight = jnp.where(total[:, None] > 0, weight, 0.0)
  return core.make_mask(tokens, seen, places, weight.reshape(rank.shape), valid)


def shares(key, b: int, concentration: tuple[float, ...]) -> Float[Array, "b s"]:
  """Draws from a Dirichlet distribution in which a modality of concentration 0 gets nothing."""
  members = [i for i, c in enumerate(concentration) if c > 0]
  alpha = jnp.asarray([concentration[i] for i in members], jnp.float32)
  drawn = jax.random.dirichlet(key, alpha, (b,))
  return jnp.zeros((b, len(concentration))).at[:, jnp.asarray(members)].set(drawn)


def _budget(
  valid: Bool[Array, "b n"], visible: int, concentration: tuple[float, ...]
) -> Int[Array, "b"]:
  """Computes how many real tokens of each sample are seen: the fraction of the whole pool."""
  n = valid.shape[1]
  may = np.repeat(np.asarray(concentration) > 0, n // len(concentration))[None]
  allowed = padded.real_tokens(valid & may)
  wanted = padded.shown(lambda k: round(visible * k / n), padded.real_tokens(valid), n)
  return jnp.minimum(wanted, allowed)


def _modalities(
  grid: tuple[int, ...], n: int, visible: int, concentration: tuple[float, ...]
) -> int:
  """Counts the modalities s; InputError where the settings do not fit them."""
  s = grid[0] if grid and math.prod(grid) == n else 0
  if len(concentration) != s:
    raise InputError(
      f"dirichlet: {len(concentration)} numbers of `concentration` for {s} modalities with {n} "
      f"tokens in all on the grid {tuple(grid)}. Give one number a modality, and modalities with "
      "as many tokens each: the grid's first side counts them."
    )
  if min(concentration) < 0 or max(concentration) <= 0:
    raise InputError(
      f"dirichlet: concentration {concentration} must have a number above 0 and none below."
    )
  allowed = sum(c > 0 for c in concentration) * n // s
  if not 0 < visible <= allowed or visible == n:
    raise InputError(
      f"dirichlet: {visible} tokens cannot be visible of {allowed} that may be seen, {n} in all. "
      "Change `objective.mask.visible`; a sixth of all is usual."
    )
  return s
