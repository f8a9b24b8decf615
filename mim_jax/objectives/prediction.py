"""The road most methods share. Letters as in core."""

from collections.abc import Callable

from mim_jax.core import Step, take, weighted_mean


def predict_masked(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  mask: Callable,
  target: Callable,
  loss: Callable,
  signal: str = "image",
):
  """Encode what is visible, predict what is masked, compare token by token: (loss, metrics)."""
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  mask = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b g m]
  latents = parts.encoder(tokens, mask)  # [b v d]
  predictions = parts.predictor(latents, mask)  # [b g m e]
  targets = take(target(batch, teachers), mask.masked)  # [b g m e]
  return weighted_mean(loss(predictions, targets), mask.weight), {}
