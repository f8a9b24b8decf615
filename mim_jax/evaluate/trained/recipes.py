"""Optimizers of fine-tuning and probes: LARS, AdamW, layer-wise learning rate decay."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mim_jax.errors import InputError
from mim_jax.ops import promotion

_BLOCK = re.compile(r"(?:stage_\d+_)?block_\d+")
_STAGE = re.compile(r"stage_\d+_")


def lars(
  learning_rate, *, momentum: float = 0.9, decay: float = 0.0, trust: float = 0.001
) -> optax.GradientTransformation:
  """Makes LARS as in MAE's linear probe (util/lars.py of its reference; arXiv 1708.03888).

  Updates of parameters with two or more axes are decayed, then scaled to trust x |parameter|; those
  of others are unchanged. Momentum accumulates that, the learning rate comes last: optax.lars has
  it the other way round, which differs while the learning rate changes.
  """

  def matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)

  return promotion.lenient(
    optax.chain(
      optax.masked(optax.add_decayed_weights(decay), matrices),
      optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust), matrices),
      optax.trace(momentum),
      optax.scale_by_learning_rate(learning_rate),
    )
  )


def adamw(learning_rate, rates: dict, *, decay: float, b2: float = 0.999):
  """Makes AdamW of flat parameters {name: array}, each update times its entry in `rates`.

  No decay of parameters with one axis, of tokens and of positions, as in MAE's fine-tuning.
  """
  scale = {name: jnp.asarray(rate, jnp.float32) for name, rate in rates.items()}
  scaled = optax.stateless(lambda u, _: {k: v * scale[k] for k, v in u.items()})
  return promotion.lenient(
    optax.chain(
      optax.scale_by_adam(b2=b2),
      optax.masked(optax.add_decayed_weights(decay), {name: decays(name) for name in rates}),
      scaled,
      optax.scale_by_learning_rate(learning_rate),
    )
  )


def decays(name: str) -> bool:
  """Tells whether a parameter of this name decays; a scanned stack adds an axis to all."""
  return name.endswith("/kernel")


def schedule(peak: float, steps: int, warmup: float, end: float = 1e-6):
  """Makes a learning rate schedule: linear `warmup`, then half a cosine to `end`, by the step."""
  warmup = min(round(warmup), max(steps - 1, 0))
  return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(steps, 1), min(end, peak))


def rates(params: dict, decay: float = 1.0, blocks: int | None = None) -> dict:
  """Computes learning rate scales {name: number, or [depth 1 ...] of a scanned stack}.

  params: flat {name: array}. The scale is decay^(depth + 1 - layer), as in BEiT and MAE's
  lr_decay.py: layer 0 is what stands before the blocks, depth + 1 what comes after them. blocks:
  the last n that are trained, with what comes after them; None for all. InputError where there are
  fewer.
  """
  order = sorted({found[0] for name in params if (found := _BLOCK.search(name))})
  scanned = [value.shape[0] for name, value in params.items() if "/blocks/" in name]
  depth = scanned[0] if scanned else len(order)
  if blocks is not None and not 0 <= blocks <= depth:
    raise InputError(f"blocks: {blocks}, but this encoder has 0 to {depth}; None trains all of it.")
  least = 0 if blocks is None else depth + 1 - blocks

  def factor(layer):
    return np.where(np.asarray(layer) < least, 0.0, decay ** (depth + 1.0 - np.asarray(layer)))

  found = {}
  for name, value in params.items():
    if "/blocks/" in name:  # scanned: all layers in one array
      found[name] = factor(np.arange(1, depth + 1)).reshape(-1, *(1,) * (value.ndim - 1))
    else:
      found[name] = factor(_layer(name, order))
  return found


def _layer(name: str, order: list[str]) -> int:
  """Finds the layer of a parameter; `order` are the blocks' names from the first to the last."""
  if found := _BLOCK.search(name):
    return order.index(found[0]) + 1
  if stage := _STAGE.search(name):  # what joins two stages goes with the block behind it
    return next((i for i, block in enumerate(order) if block.startswith(stage[0])), 0) + 1
  after = not name.startswith(("encoder/", "tokenizer")) or name.startswith("encoder/norm")
  return len(order) + 1 if after else 0
