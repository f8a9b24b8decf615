"""Put other ids in place of masked ones. Letters: b batch, n tokens."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.ops import gather


def replace_tokens(
  key,
  inputs: Int[Array, "b n"],
  mask: core.Mask,
  *,
  masked_id: int,
  vocabulary: int,
  keep: float = 0.1,
  random: float = 0.1,
) -> core.Corrupted:
  """Replaces masked ids by `masked_id`, some by random ids, and keeps some (BERT, section 3.1).

  Of what the mask asks for, a fraction `keep` stays as it is, `random` becomes an id drawn from
  [0, vocabulary), and the rest `masked_id`. Nothing else changes, padding (negative ids) never.
  InputError where the fractions are none, or more than all.
  """
  check_fractions(keep, random)
  draw_key, id_key = jax.random.split(key)
  index, listed = (x.reshape(len(inputs), -1) for x in (mask.masked, mask.weight > 0))
  hidden = gather.member(index, inputs.shape[1], listed) & (inputs >= 0)
  draw = jax.random.uniform(draw_key, inputs.shape)
  kept = hidden & (draw < keep)
  others = jax.random.randint(id_key, inputs.shape, 0, vocabulary, inputs.dtype)
  given = jnp.where(draw < keep + random, others, jnp.asarray(masked_id, inputs.dtype))
  return core.Corrupted(jnp.where(hidden & ~kept, given, inputs), kept)


def check_fractions(keep: float, random: float) -> None:
  """InputError unless both lie in [0, 1], and their sum does."""
  if not (0 <= keep <= 1 and 0 <= random <= 1 and keep + random <= 1):
    raise InputError(
      f"objective.corruption: keep={keep}, random={random}. Both must lie in 0 to 1, and so must "
      "their sum; BERT has 0.1 each."
    )
