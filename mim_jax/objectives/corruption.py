"""Predict what was corrupted: the network sees all tokens, some of them changed. Letters: core."""

from collections.abc import Callable

import jax

from mim_jax.core import Outcome, Step, averaged, repeated, take


def predict_corrupted(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  entry: str,
  mask: Callable,
  corruption: Callable,
  target: Callable,
  loss: Callable,
) -> Outcome:
  """Corrupts the input where a mask says so, encodes all of it, predicts there what it was (BERT).

  entry: of the batch, what is corrupted. The head gets the tokenizer's table, where it has one. The
  Outcome has the corrupted "inputs", and "kept" [b n], masked tokens that were left as they are.
  """
  mask_key, corruption_key = jax.random.split(step.key)
  tokens = parts.tokenizer(batch[entry])  # Tokens [b n d]
  drawn = mask(mask_key, tokens, None, step.progress)  # masked [b g m]
  inputs = repeated(batch[entry], drawn.copies)
  given = corruption(corruption_key, inputs, drawn)  # Corrupted, inputs [b ...]
  latents = parts.encoder(parts.tokenizer(given.inputs))  # [b n d], all of it visible
  asked = take(latents.values, drawn.masked)  # [b g m d]
  predictions = parts.head(asked, getattr(parts.tokenizer, "table", None))  # [b g m e]
  targets = repeated(target(batch, teachers, drawn), drawn.copies)  # [b n e]
  targets = take(targets, drawn.masked)  # [b g m e]
  seen = dict(inputs=given.inputs, kept=given.kept)
  return averaged(loss(predictions, targets), drawn, predictions, targets, **seen)
