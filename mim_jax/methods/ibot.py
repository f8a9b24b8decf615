"""Self-distillation between views, and of masked patches (iBOT, arXiv 2111.07832). Letters as in
core; q views of the teacher, k codes.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax.core import Mask, Outcome, Step, take
from mim_jax.ops import collapse, sinkhorn

CENTRES = "centres"  # the collection of running means


class Seen(NamedTuple):
  """Logits of student and teacher for one large view, over k codes.

  Attributes:
    classes, teacher_classes: of the class token, [b k].
    patches, teacher_patches: of the masked tokens, [b 1 m k].
    weight: of the masked tokens, [b 1 m].
    mean: the teacher's logits over all patches of the batch, [k].
    features: the teacher's class token before the head, [b d].
  """

  classes: jax.Array
  teacher_classes: jax.Array
  patches: jax.Array
  teacher_patches: jax.Array
  weight: jax.Array
  mean: jax.Array
  features: jax.Array


def distill_views(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  mask: Callable,
  loss: Callable,
  temperature: Callable,
  patch_temperature: Callable,
  patch_weight: float = 1.0,
  views: tuple[str, ...] = ("image", "other"),
  local: str = "local",
) -> Outcome:
  """Matches class tokens across views, and masked patches with the teacher's (iBOT, eq. 2 and 3).

  The student sees `views` masked and `local` [b l h w c] whole, `teachers.ema` sees `views` whole.
  `parts.head` gives logits; `parts.class_targets` and `parts.patch_targets` make distributions of
  the teacher's. Temperatures, the teacher's, are schedules; the student's is the loss's.
  """
  keys = jax.random.split(step.key, len(views))
  found = [
    _seen(parts, teachers.ema, batch[name], functools.partial(mask, key), step)
    for name, key in zip(views, keys, strict=True)
  ]
  seen = jax.tree.map(lambda *of: jnp.stack(of, 1), *(x for _, x in found))  # [b q ...]; [k q]
  classes = jnp.concatenate([seen.classes, _local(parts, batch[local])], 1)  # [b q+l k]
  logits, now = seen.teacher_classes, temperature(step.progress)  # [b q k]
  truth = parts.class_targets(logits, now, jnp.mean(logits, (0, 1)), None)
  codes = _codes(parts, seen, patch_temperature(step.progress))  # [b q m k]
  across = _across(loss, classes, truth)
  within = _of_the_masked(loss(seen.patches[:, :, 0], codes), seen.weight[:, :, 0])
  metrics = dict(class_loss=across, patch_loss=within, **_meters(truth, seen.features))
  total = across + patch_weight * within
  return Outcome(total, metrics, found[0][0], seen.patches[:, 0], codes[:, :1])


def _seen(parts, teacher, image, draw, step: Step) -> tuple[Mask, Seen]:
  tokens = parts.tokenizer(image)  # Tokens [b n d]
  mask = draw(tokens, progress=step.progress)  # masked [b 1 m]
  latents = parts.encoder(tokens, mask)
  whole = jax.lax.stop_gradient(teacher.encoder(teacher.tokenizer(image)))
  asked = take(whole.values, mask.masked)
  classes = parts.head(latents.prefix[:, 0]), teacher.head(whole.prefix[:, 0])
  patches = parts.head(take(latents.values, mask.masked)), teacher.head(asked)
  counted = () if whole.valid is None else (whole.valid,)
  mean = teacher.head.mean(whole.values, *counted)
  return mask, Seen(*classes, *patches, mask.weight, mean, whole.prefix[:, 0])


def _codes(parts, seen: Seen, temperature) -> jax.Array:
  """Makes the teacher's distributions at the masked patches, of all views at once: [b q m k]."""
  weight, logits = seen.weight[:, :, 0], seen.teacher_patches[:, :, 0]  # [b q m], [b q m k]
  b, *_, k = logits.shape
  mean = jnp.mean(seen.mean, 1)
  codes = parts.patch_targets(logits.reshape(b, -1, k), temperature, mean, weight.reshape(b, -1))
  return codes.reshape(logits.shape)


def _local(parts, images) -> jax.Array:
  """Scores of the class tokens of small views, [b l h w c] -> [b l k]."""
  b, count = images.shape[:2]
  latents = parts.encoder(parts.tokenizer(images.reshape(-1, *images.shape[2:])))
  return parts.head(latents.prefix[:, 0]).reshape(b, count, -1)


def _across(loss, classes, truth) -> jax.Array:
  """Mean loss of all views [b a k] against other views [b q k], the first q of them, each."""
  (b, a, k), q = classes.shape, truth.shape[1]
  apart = jnp.asarray([[i != j for i in range(a)] for j in range(q)], jnp.float32)[None]
  shape = (b, q, a, k)
  found = loss(
    jnp.broadcast_to(classes[:, None], shape), jnp.broadcast_to(truth[:, :, None], shape)
  )
  return jnp.sum(found * apart) / (b * jnp.sum(apart))


def _of_the_masked(losses, weight) -> jax.Array:
  """Mean over the masked tokens of each view [b q m], 0 where there are none; then over views."""
  each = jnp.sum(losses * weight, -1) / jnp.maximum(jnp.sum(weight, -1), 1.0)
  return jnp.mean(each)


def _meters(truth, features) -> dict:
  """What tells that the teacher collapses: to one code, or to none."""
  features = jax.lax.stop_gradient(features).reshape(-1, features.shape[-1])
  return dict(
    target_entropy=collapse.entropy(truth),
    code_entropy=collapse.entropy(jnp.mean(truth, (0, 1))),
    feature_deviation=collapse.feature_std(features),
    feature_rank=collapse.rank_me(features),
  )


class CenteredTargets(nn.Module):
  """softmax((scores - centre) / temperature), no gradient: [b n k] -> [b n k].

  The centre follows the mean scores of the global batch after it has been used; it starts at 0,
  lies in the collection "centres" and stays as it is where that cannot be changed. Source: DINO,
  section 3.1; iBOT.
  """

  momentum: float = 0.9

  @nn.compact
  def __call__(
    self,
    scores: Float[Array, "b n k"],
    temperature,
    mean: Float[Array, "k"],
    weight: Float[Array, "b n"] | None = None,
  ) -> Float[Array, "b n k"]:
    """`mean`: of the scores, over more than is given here if need be; `weight` does not matter."""
    centre = self.variable(CENTRES, "centre", jnp.zeros, mean.shape)
    now = centre.value
    if self.is_mutable_collection(CENTRES) and not self.is_initializing():
      centre.value = now * self.momentum + jax.lax.stop_gradient(mean) * (1.0 - self.momentum)
    scores = jax.lax.stop_gradient(scores)
    return nn.softmax((scores - now[None, None]) / temperature)


class SinkhornTargets(nn.Module):
  """Sinkhorn's balanced assignment in place of a centre: [b n k] -> [b n k] (DINOv2, section 4)."""

  iterations: int = 3

  @nn.compact
  def __call__(
    self, scores: Float[Array, "b n k"], temperature, mean=None, weight=None
  ) -> Float[Array, "b n k"]:
    """`weight` [b n] 0 leaves a token out of the balance; where all are 0, none is."""
    if weight is not None:
      weight = jnp.where(jnp.any(weight > 0), weight, 1.0)
    return sinkhorn.sinkhorn_knopp(
      scores / temperature, weight, temperature=1.0, iterations=self.iterations
    )
