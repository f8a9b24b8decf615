"""Student features of what is visible follow a teacher's features of the whole (MaskAlign, arXiv
2211.08887). Letters as in core; a teacher layers.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.core import Latents, Outcome, Step, painted_by, take, weighted_mean
from mim_jax.errors import InputError, unknown
from mim_jax.layers import basic
from mim_jax.layers.rebinding import with_settings
from mim_jax.layers.stack import check_layer
from mim_jax.targets.latent import standardized


def distill_visible(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  mask: Callable,
  target: Callable,
  loss: Callable,
  layers: tuple[int, ...],
) -> Outcome:
  """Shows what a teacher attends to; the student's features of it regress the teacher's.

  entry: of the batch. target: (batch, teachers) -> (Latents of several layers, scores [b n]).
  layers: those of the student, 1 = after the first block, that the predictor mixes; its encoder
  records "unnormed". Class tokens count like patches. Source: MaskAlign (arXiv 2211.08887).
  """
  targets, scores = target(batch, teachers)
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  drawn = mask(step.key, tokens, scores, step.progress)  # visible [b v]
  latents = unnormed(parts.encoder(tokens, drawn, layers=layers))  # list of Latents [b v d]
  predictions = parts.predictor(latents, drawn)  # [b a k+v e]
  wanted = [jnp.concatenate([x.prefix, take(x.values, drawn.visible)], 1) for x in targets]
  wanted = jnp.stack(wanted, 1)  # [b a k+v e]
  losses = loss(predictions, wanted)  # [b a k+v]
  weight = shown(drawn, losses)  # [b a k+v]
  total, count = weighted_mean(losses, weight), jnp.float32(losses.size)
  count = count if drawn.valid is None else jnp.sum(weight)
  return Outcome(total, {}, drawn, predictions, wanted, count, {"scores": scores})


def shown(drawn: core.Mask, losses: Array) -> Array:
  """Weighs losses [b a k+v] of class tokens and of what is shown: 0 for what only fills up."""
  if drawn.valid is None:
    return jnp.ones_like(losses)
  k = losses.shape[2] - drawn.valid.shape[1]
  real = jnp.pad(drawn.valid, ((0, 0), (k, 0)), constant_values=True)
  return jnp.broadcast_to(real[:, None], losses.shape).astype(losses.dtype)


def unnormed(latents: list[Latents]) -> list[Latents]:
  """Takes Latents as they were before any norm, of an encoder that records "unnormed"."""
  return [x.extras.get("unnormed", x) for x in latents]


class DynamicAlignment(nn.Module):
  """Each teacher layer from a learned mixture of all student layers and a linear map of its own.

  A list of Latents -> [b a k+v e], class tokens first. The mixture has no softmax. It starts at
  0.01 everywhere, plus 1 at the student layer with the teacher layer's number ("own", where both
  are as deep), or as the mean ("mean"). Source: MaskAlign (arXiv 2211.08887), dynamic alignment.

  rows: numbers of the teacher's layers, as in the target; negative ones count from the end.
  """

  width: int
  rows: tuple[int, ...]
  start: str = "own"
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, latents: list[core.Latents], mask=None, context=None
  ) -> Float[Array, "b a n e"]:
    if self.start not in ("own", "mean"):
      raise unknown("predictor.start", self.start, ("own", "mean"))
    every = jnp.stack([jnp.concatenate([x.prefix, x.values], 1) for x in latents], 1)
    mixing = self.param("mixing", self._mixing, (len(self.rows), len(latents)))
    mixed = jnp.einsum("al,blnd->band", mixing.astype(every.dtype), every)
    heads = [basic.dense(self.width, self.dtype, f"head_{i}") for i in range(len(self.rows))]
    return jnp.stack([head(mixed[:, i]) for i, head in enumerate(heads)], 1)

  def _mixing(self, key, shape, dtype=jnp.float32):
    if self.start == "mean":
      return jnp.full(shape, 1 / shape[1], dtype)
    own = [check_layer(row, shape[1]) - 1 for row in self.rows]
    return jnp.full(shape, 0.01, dtype).at[jnp.arange(shape[0]), jnp.asarray(own)].add(1.0)


@painted_by("scores")
def attended_layers(
  batch,
  teachers,
  *,
  layers: tuple[int, ...],
  view: Callable,
  whiten: bool = True,
  teacher: str = "frozen",
  entry: str = "image",
) -> tuple[list[Latents], Array]:
  """What a teacher makes of the whole image: (Latents of `layers`, attention of its class token).

  Latents are those behind blocks, before any norm, float32; with `whiten` each token has mean 0 and
  deviation 1. Attention [b n] is that of the last block, the mean of its heads, to patches alone:
  it sums to less than 1. `view` makes of our image that of the teacher. No gradient.
  Register tokens are left out. InputError where the teacher has no class token.
  Source: MaskAlign (arXiv 2211.08887).
  """
  network = getattr(teachers, teacher)
  tokens = network.tokenizer(view(batch[entry]))
  # Its own run asked for neither the attention nor what is not normed.
  encoder = with_settings(network.encoder, record=("attention", "unnormed"))
  *_, last = (found := encoder(tokens, layers=(*layers, -1)))
  if (attention := last.extras.get("attention")) is None:
    raise InputError(f"teachers.{teacher}: needs a class token to attend. Take one that has it.")
  found = unnormed(found[:-1])
  k, classes = found[0].prefix.shape[1], attention.shape[2]
  found = [Latents(x.values, x.prefix[:, :classes]) for x in found]
  found = [jax.tree.map(lambda x: x.astype(jnp.float32), latents) for latents in found]
  found = jax.tree.map(standardized, found) if whiten else found
  return jax.lax.stop_gradient((found, jnp.mean(attention[:, :, 0, k:], 1)))
