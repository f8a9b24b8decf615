"""One budget of visible tokens for several signals. Letters: b batch, s signals, n tokens."""

import jax
import jax.numpy as jnp
from jax import Array

from mim_jax import core
from mim_jax.errors import InputError
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
  """Exactly `visible` tokens of a pool are seen; how many of each signal is drawn anew each time.

  The pool lies on the grid (s, ...), signal by signal. Shares of the budget come from a Dirichlet
  distribution (ones: uniform over all splits; a signal of concentration 0 is never seen), each
  sample has its own. Counts are rounded half to even, the seen tokens of each signal are uniform;
  where the counts miss the total by one, a random token is dropped, or a random hidden one added.
  A group of targets a signal: all its places [b s n/s], with weight 0 for those that are seen.
  InputError where concentration and signals or visible and tokens do not fit.
  Source: MultiMAE (arXiv 2204.01678), section 3.4.
  """
  b, n = tokens.positions.shape[:2]
  s = tokens.grid[0]
  _check(n, s, visible, concentration)
  share_key, place_key, repair_key = jax.random.split(key, 3)
  counts = jnp.round(visible * shares(share_key, b, concentration))  # [b s]
  draws = jax.random.uniform(place_key, (b * s, n // s))
  rank = gather.inverse(jnp.argsort(draws, axis=1)).reshape(b, s, n // s)
  chosen = rank < counts[..., None].astype(rank.dtype)
  never = jnp.asarray([2.0 * (c == 0) for c in concentration], jnp.float32)[None, :, None]
  # The chosen first, then hidden ones that may be seen, each in random order.
  order = jnp.where(chosen, 0.0, 1.0) + never + jax.random.uniform(repair_key, chosen.shape)
  seen = jnp.argsort(order.reshape(b, n), axis=1)[:, :visible]
  places = jnp.broadcast_to(jnp.arange(n, dtype=seen.dtype).reshape(1, s, -1), rank.shape)
  weight = 1.0 - gather.member(seen, n).astype(jnp.float32)
  return core.make_mask(tokens, seen, places, weight.reshape(rank.shape))


def shares(key, b: int, concentration: tuple[float, ...]) -> Array:
  """Draws [b s] from a Dirichlet distribution in which a signal of concentration 0 gets nothing."""
  members = [i for i, c in enumerate(concentration) if c > 0]
  alpha = jnp.asarray([concentration[i] for i in members], jnp.float32)
  drawn = jax.random.dirichlet(key, alpha, (b,))
  return jnp.zeros((b, len(concentration))).at[:, jnp.asarray(members)].set(drawn)


def _check(n: int, s: int, visible: int, concentration: tuple[float, ...]) -> None:
  if len(concentration) != s or n % s:
    raise InputError(
      f"dirichlet: {len(concentration)} numbers of `concentration` for {s} signals with {n} tokens "
      "in all. Give one number a signal, and signals with as many tokens each."
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
