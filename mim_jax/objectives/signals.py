"""MultiMAE: several signals, one pool of tokens, a predictor a task. Letters: core, s signals."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from mim_jax.core import Mask, Step, Tokens
from mim_jax.errors import InputError


def predict_signals(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  signals: tuple[str, ...],
  mask: Callable,
  tasks: dict,
):
  """What is visible of all signals tells what is hidden of each: the sum of the tasks' losses.

  tasks: {name: {"signal", "target", "loss"}}; `parts.predictors[name]` serves the task `name`.
  A loss is averaged over the hidden places of an image, then over images: they differ in number.
  """
  tokens = pooled(parts, batch, signals)  # Tokens [b s*n d]
  mask = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b s n]
  latents = parts.encoder(tokens, mask)  # [b v d]
  losses = {}
  for name, task in tasks.items():
    own = group(mask, signals.index(task["signal"]))  # masked [b 1 n]
    predictions = parts.predictors[name](latents, own)  # [b 1 n e]
    targets = task["target"](batch, teachers)[:, None]  # [b 1 n e]
    losses[f"loss_{name}"] = image_mean(task["loss"](predictions, targets), own.weight)
  return sum(losses.values()), losses


def encode_signals(parts, batch, layers=None, *, signals: tuple[str, ...]):
  """Latents of these signals with nothing masked, one after the other; any subset will do."""
  return parts.encoder(pooled(parts, batch, signals), layers=layers)


def pooled(parts, batch, signals: tuple[str, ...]) -> Tokens:
  """The tokens of all `signals`, one after the other, on the grid (s, rows, columns).

  Positions are those within a signal. InputError where a signal is missing or the grids differ.
  """
  missing = [name for name in signals if name not in batch or name not in parts.tokenizers]
  if missing or not signals:
    there = sorted(set(batch) & set(parts.tokenizers))
    raise InputError(
      f"signals: {', '.join(missing) or 'none'} asked for, but the data and the tokenizers share "
      f"{', '.join(there) or 'none'}. Change `signals`, or give data that has them."
    )
  cut = [parts.tokenizers[name](batch[name]) for name in signals]
  if len({tokens.grid for tokens in cut}) > 1:
    grids = ", ".join(f"{name} {t.grid}" for name, t in zip(signals, cut, strict=True))
    raise InputError(f"signals: all must lie on one grid; they lie on {grids}. Change the patches.")
  values, positions = (
    jnp.concatenate([getattr(t, key) for t in cut], 1) for key in ("values", "positions")
  )
  return Tokens(values, positions, grid=(len(cut), *cut[0].grid))


def group(mask: Mask, index: int) -> Mask:
  """The mask with one of its groups of targets only, [b 1 m]."""
  here = slice(index, index + 1)
  return dataclasses.replace(mask, masked=mask.masked[:, here], weight=mask.weight[:, here])


def image_mean(values, weight):
  """Mean over the weighted places of each image, then over the images that have any."""
  values, weight = values.astype(jnp.float32), weight.astype(jnp.float32)
  total = jnp.sum(weight, (1, 2))
  each = jnp.sum(values * weight, (1, 2)) / jnp.maximum(total, 1e-12)
  counts = (total > 0).astype(jnp.float32)
  return jnp.sum(each * counts) / jnp.maximum(jnp.sum(counts), 1.0)
