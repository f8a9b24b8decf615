"""Predict one view of a thing with the help of another. Letters as in core."""

from collections.abc import Callable

from mim_jax.core import Outcome, Step, averaged, take


def predict_from_context(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  mask: Callable,
  target: Callable,
  loss: Callable,
  context: str = "context",
) -> Outcome:
  """Encodes the other view whole and this one masked, by the same encoder; predicts this one.

  entry, context: of the batch, this view and the other. Both get gradients (CropMAE, arXiv
  2403.17823).
  """
  whole = parts.encoder(parts.tokenizer(batch[context]))  # [b n d]
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  drawn = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b g m]
  latents = parts.encoder(tokens, drawn)  # [b v d]
  predictions = parts.predictor(latents, drawn, context=whole)  # [b g m e]
  targets = take(target(batch, teachers), drawn.masked)  # [b g m e]
  losses = loss(predictions, targets)  # [b g m]
  return averaged(losses, drawn, predictions, targets, context=batch[context])
