"""Masks that follow scores, one number a token. Letters as in core."""

import jax
import jax.numpy as jnp

from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.masks import padded
from mim_jax.masks.uniform import rounded, visible_count
from mim_jax.ops import gather


def easy_to_hard(
  key, tokens: core.Tokens, scores=None, progress=None, *, ratio: float, start: float, end: float
) -> core.Mask:
  """Hides the tokens with the highest scores, and random others to fill up.

  scores [b n]: how hard each token is. Of the m masked, trunc(m share) are the hardest, where share
  goes straight from `start` to `end` with progress; as long as none is, this is masks.random.
  Source: HPM (arXiv 2304.05919), easy-to-hard mask generation; v = int(n (1 - ratio)) as in its
  reference, which raises the share once an epoch where we do at every step.
  """
  scores, n = _checked(scores, tokens, "easy_to_hard"), tokens.positions.shape[1]
  v = visible_count(n, ratio)
  share = start + (end - start) * jnp.asarray(progress, jnp.float32)
  hidden = n - v
  if tokens.valid is not None:
    real = padded.real_tokens(tokens.valid)
    hidden = (real - padded.shown(lambda k: rounded(k, ratio), real, n)).astype(jnp.float32)[
      :, None
    ]
  hard = jnp.floor(hidden * share).astype(jnp.int32)
  rank = gather.inverse(jnp.argsort(-scores, axis=1).astype(jnp.int32))  # 0 is the hardest
  noise = jax.random.uniform(key, scores.shape)  # below 1, so that the hardest come last
  noise = jnp.where(rank < hard, 1.0, noise)
  return padded.partition(tokens, noise, lambda k: rounded(k, ratio))


def attention_sampled(
  key, tokens: core.Tokens, scores=None, progress=None, *, ratio: float, floor: float = 1e-20
) -> core.Mask:
  """Keeps tokens drawn one after the other, without replacement, with chances as the scores.

  scores [b n]: how much each token is attended to, not negative; a token below `floor` counts as
  `floor`. The largest log(scores) + Gumbel noise are such a draw. v = int(n (1 - ratio)).
  Source: MaskAlign (arXiv 2211.08887), attentive masking.
  """
  scores, n = _checked(scores, tokens, "attention_sampled"), tokens.positions.shape[1]
  visible_count(n, ratio)
  chance = jnp.log(jnp.maximum(scores, floor)) + jax.random.gumbel(key, scores.shape)
  return padded.partition(tokens, -chance, lambda k: rounded(k, ratio))


def _checked(scores, tokens, name):
  """Casts scores to float32, without gradient, -inf for padding; InputError where none fit."""
  if scores is None:
    raise InputError(
      f"masks.{name} needs scores, and this objective gives none. Use it with an objective that "
      "does (HPM's, MaskAlign's, predict_masked with `scores`), or take masks.random."
    )
  if scores.shape != tokens.positions.shape[:2]:
    raise InputError(
      f"masks.{name}: scores {scores.shape} for tokens {tokens.positions.shape[:2]}. One number a "
      "token is needed: give the teacher the student's patch grid."
    )
  scores = jax.lax.stop_gradient(scores.astype(jnp.float32))
  # What a teacher says of padding may be anything.
  return scores if tokens.valid is None else jnp.where(tokens.valid, scores, -jnp.inf)
