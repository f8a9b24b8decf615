"""Hard patches mining: the EMA teacher predicts per-patch losses and the hardest are masked (HPM,
arXiv 2304.05919). Letters as in core.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.core import Outcome, Step, make_mask, take, weighted_mean
from mim_jax.layers import basic
from mim_jax.layers.position_embeddings import Positions, SinCos, fixed
from mim_jax.predictors import joint


def mine_hard_patches(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  mask: Callable,
  target: Callable,
  loss: Callable,
  ranking: Callable,
  weight: float = 1.0,
) -> Outcome:
  """Masks what the EMA teacher predicts to be hard; the student predicts targets and its losses.

  entry: of the batch. The predictor has `losses` (LossPredictingDecoder). ranking: (predicted
  losses, losses, weights) -> (costs, their weights), and counts `weight` times. Source: HPM (arXiv
  2304.05919), algorithm 1.
  """
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  scores = difficulty(teachers.ema, batch[entry])  # [b n]
  drawn = mask(step.key, tokens, scores, step.progress)  # visible [b v], masked [b g m]
  latents = parts.encoder(tokens, drawn)  # [b v d]
  predictions = parts.predictor(latents, drawn)  # [b g m e]
  targets = take(target(batch, teachers), drawn.masked)  # [b g m e]
  losses = loss(predictions, targets)  # [b g m]
  _, predicted = parts.predictor.losses(latents, drawn)  # [b g m]
  prediction = weighted_mean(losses, drawn.weight)
  order = weighted_mean(*ranking(predicted, jax.lax.stop_gradient(losses), drawn.weight))
  metrics = {"prediction": prediction, "ranking": order}
  more, total = {"scores": scores}, prediction + weight * order
  return Outcome(total, metrics, drawn, predictions, targets, jnp.sum(drawn.weight), more)


def difficulty(network, inputs):
  """Predicts with a network that sees all how large each token's loss is: [b n], no gradient."""
  tokens = network.tokenizer(inputs)
  b, n = tokens.positions.shape[:2]
  every = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), (b, n))
  nothing = make_mask(tokens, every, every[:, :0])
  losses, _ = network.predictor.losses(network.encoder(tokens), nothing)
  return jax.lax.stop_gradient(losses[:, 0])


class LossPredictingDecoder(nn.Module):
  """Two transformers over one sequence of visible latents and mask tokens (HPM, arXiv 2304.05919).

  Called, it predicts the masked tokens, [b g m e] with e = target_width. `losses` predicts how
  large the losses are. Both share the linear layer of the latents, the mask token and the (fixed)
  positions; `stack` is a layers.Stack, and the second transformer is like it.
  """

  width: int
  target_width: int
  stack: nn.Module
  positions: Positions = SinCos()

  def setup(self):
    dtype = self.stack.dtype
    self.embed = basic.dense(self.width, dtype)
    self.mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, 1, self.width))
    self.ranking_stack = self.stack.clone(parent=None, name=None)
    self.norm = basic.norm(dtype)
    self.head = basic.dense(self.target_width, dtype)
    # A shift of all scores changes no order, so that no bias behind the ranking blocks would learn.
    self.ranking_norm = basic.norm(dtype, use_bias=False)
    # The reference averages `target_width` outputs with Xavier kernels: scores start near 0.
    spread = (2 / (self.width + self.target_width) / self.target_width) ** 0.5
    start = nn.initializers.normal(spread)
    self.ranking_head = basic.dense(1, dtype, use_bias=False, kernel_init=start)

  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    x, valid = self._sequence(latents, mask)
    b, g, m = mask.masked.shape
    asked = self.stack(x, valid)[:, x.shape[1] - m :]
    return self.head(self.norm(asked)).reshape(b, g, m, self.target_width)

  def losses(
    self, latents: core.Latents, mask: core.Mask
  ) -> tuple[Float[Array, "b g v"], Float[Array, "b g m"]]:
    """Predicts the losses of (visible, masked) tokens, float32; only their order has a meaning."""
    x, valid = self._sequence(latents, mask)
    b, g, m = mask.masked.shape
    found = self.ranking_head(self.ranking_norm(self.ranking_stack(x, valid)))
    found = found.astype(jnp.float32).reshape(b, g, -1)
    k, end = latents.prefix.shape[1], found.shape[-1]
    return found[..., k : end - m], found[..., end - m :]

  def _sequence(self, latents, mask):
    code = self.positions.code(fixed, mask.positions, mask.grid, self.width)
    return joint.sequence(self.embed, self.mask_token, latents, mask, code)


def pairwise_order(
  scores: Float[Array, "b g m"], errors: Float[Array, "b g m"], weight: Float[Array, "b g m"]
) -> tuple[Array, Array]:
  """Whether scores order tokens as errors do: (mean over a token's pairs, its pairs), [b g m] each.

  A pair is two tokens of one group whose errors differ, each of weight 1 or 0; it costs -log
  sigmoid of how much higher the worse token scores. The mean weighted by pairs is that over all
  pairs of the batch. No gradient reaches `errors`. Source: HPM (arXiv 2304.05919), relative loss.
  """
  errors, scores = jax.lax.stop_gradient(errors), scores.astype(jnp.float32)
  worse = jnp.sign(errors[..., :, None] - errors[..., None, :])  # [b g m m]
  counts = weight[..., :, None] * weight[..., None, :] * jnp.abs(worse)
  gaps = scores[..., :, None] - scores[..., None, :]
  costs = -jax.nn.log_sigmoid(worse * gaps)
  pairs = jnp.sum(counts, -1)
  return jnp.sum(costs * counts, -1) / jnp.maximum(pairs, 1.0), pairs


def standardized_error(
  scores: Float[Array, "b g m"], errors: Float[Array, "b g m"], weight: Float[Array, "b g m"]
) -> tuple[Array, Array]:
  """How far scores are from errors in square, those standardised within a group: (cost, weight).

  No gradient reaches `errors`. Source: HPM (arXiv 2304.05919), its absolute loss, an ablation;
  unbiased variance plus 1e-6 as in its reference.
  """
  errors, scores = jax.lax.stop_gradient(errors), scores.astype(jnp.float32)
  count = jnp.sum(weight, -1, keepdims=True)
  centred = errors - jnp.sum(errors * weight, -1, keepdims=True) / jnp.maximum(count, 1.0)
  spread = jnp.sum(jnp.square(centred) * weight, -1, keepdims=True) / jnp.maximum(count - 1, 1.0)
  return jnp.square(scores - centred / jnp.sqrt(spread + 1e-6)), weight
