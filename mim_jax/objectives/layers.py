"""Several layers of the encoder, each with targets of its own. Letters as in core, s cells."""

from collections.abc import Callable

import jax.numpy as jnp

from mim_jax.core import Mask, Step, weighted_mean
from mim_jax.ops import gather, grids


def predict_scales(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  mask: Callable,
  layers: tuple[int, ...],
  targets: dict,
  loss: Callable,
  signal: str = "image",
):
  """Low layers predict fine targets, high layers coarse ones; their losses are added.

  layers: which latents the predictor gets (1 = after the first block), one for each of `targets`,
  in the order of their names. Cells may be smaller or larger than a patch, and one counts as much
  as the share of it that is masked.
  Source: LocalMIM (arXiv 2303.05251).
  """
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  drawn = mask(step.key, tokens, progress=step.progress)  # visible [b v]
  predictions = parts.predictor(parts.encoder(tokens, drawn, layers), drawn)  # list of [b 1 s e]
  losses = {}
  for prediction, (name, target) in zip(predictions, sorted(targets.items()), strict=True):
    wanted = target(batch, teachers)[:, None]  # [b 1 s e]
    weight = hidden_share(drawn, wanted.shape[2])[:, None]  # [b 1 s]
    losses[name] = weighted_mean(loss(prediction, wanted), weight)
  return sum(losses.values()), losses


def hidden_share(drawn: Mask, cells: int):
  """How much of each of `cells` on the grid is not visible, in [0, 1]: [b cells], float32."""
  n = drawn.positions.shape[1]
  hidden = 1.0 - gather.member(drawn.visible, n, drawn.valid).astype(jnp.float32)
  return grids.rescale(hidden[..., None], drawn.grid, (cells / n) ** 0.5)[..., 0]
