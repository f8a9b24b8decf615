"""Predict what is masked: the road most methods take. Letters as in core."""

from collections.abc import Callable

from mim_jax.core import Outcome, Step, averaged, repeated, take


def predict_masked(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  mask: Callable,
  target: Callable,
  loss: Callable,
  scores: Callable | None = None,
) -> Outcome:
  """Encodes what is visible, predicts what is masked, compares token by token.

  entry: of the batch, what is masked. scores: what the mask follows, (batch, teachers) -> [b n].
  """
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  order = None if scores is None else scores(batch, teachers)  # [b n]
  drawn = mask(step.key, tokens, order, step.progress)  # visible [b v], masked [b g m]
  latents = parts.encoder(repeated(tokens, drawn.copies), drawn)  # [b v d]
  predictions = parts.predictor(latents, drawn)  # [b g m e]
  targets = repeated(target(batch, teachers, drawn), drawn.copies)  # [b n e]
  targets = take(targets, drawn.masked)  # [b g m e]
  more = {} if scores is None else {"scores": order}
  return averaged(loss(predictions, targets), drawn, predictions, targets, **more)
