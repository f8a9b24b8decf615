"""Predict one view of a thing with the help of another. Letters as in core."""

from collections.abc import Callable

from mim_jax.core import Step, take, weighted_mean


def predict_from_context(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  mask: Callable,
  target: Callable,
  loss: Callable,
  signal: str = "image",
  context: str = "context",
):
  """Encode the other view whole and this one masked, by the same encoder; predict this one.

  Both views are encoded on their own and both get gradients (CropMAE, arXiv 2403.17823).
  """
  whole = parts.encoder(parts.tokenizer(batch[context]))  # [b n d]
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  mask = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b g m]
  latents = parts.encoder(tokens, mask)  # [b v d]
  predictions = parts.predictor(latents, mask, context=whole)  # [b g m e]
  targets = take(target(batch, teachers), mask.masked)  # [b g m e]
  return weighted_mean(loss(predictions, targets), mask.weight), {}
