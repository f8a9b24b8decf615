"""What is visible, made like a teacher's view of the whole (MaskAlign). Letters as in core."""

from collections.abc import Callable

import jax.numpy as jnp

from mim_jax.core import Step, take, weighted_mean


def align_visible(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  mask: Callable,
  target: Callable,
  loss: Callable,
  layers: tuple[int, ...],
  signal: str = "image",
):
  """The teacher looks first and says where; the student's latents of those patches follow its own.

  target: (batch, teachers) -> (Latents of several layers, guide [b n]), targets.attended_layers.
  layers: those of the student, 1 = after the first block, that the predictor mixes. Class tokens
  count like patches. Source: MaskAlign (arXiv 2211.08887).
  """
  targets, guide = target(batch, teachers)
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  drawn = mask(step.key, tokens, guide, step.progress)  # visible [b v]
  latents = parts.encoder(tokens, drawn, layers=layers, raw=True)  # list of Latents [b v d]
  predictions = parts.predictor(latents, drawn)  # [b a k+v e]
  wanted = [jnp.concatenate([x.prefix, take(x.values, drawn.visible)], 1) for x in targets]
  losses = loss(predictions, jnp.stack(wanted, 1))  # [b a k+v]
  return weighted_mean(losses, jnp.ones_like(losses)), {}
