"""Several modalities, one pool of tokens, a decoder a task (MultiMAE, arXiv 2204.01678). Letters as
in core; s modalities.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mim_jax import core
from mim_jax.core import Mask, Outcome, Step, Tokens
from mim_jax.errors import InputError
from mim_jax.layers import basic, cross, init
from mim_jax.layers.mlp import Mlp
from mim_jax.layers.position_embeddings import Positions, SinCos
from mim_jax.ops import gather


def predict_modalities(
  parts,
  batch,
  step: Step,
  teachers,
  *,
  modalities: tuple[str, ...],
  mask: Callable,
  tasks: dict,
) -> Outcome:
  """Predicts what is hidden of each modality from what is visible of all; adds the tasks' losses.

  modalities: entries of the batch. tasks: {name: {"entry", "target", "loss"}};
  `parts.predictors[name]` serves the task `name`. A loss is averaged over the hidden places of a
  sample, then over samples: they differ in number.
  """
  tokens = pooled(parts, batch, modalities)  # Tokens [b s*n d]
  drawn = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b s n]
  latents = parts.encoder(tokens, drawn)  # [b v d]
  losses, predictions, targets = {}, {}, {}
  for name, task in tasks.items():
    own = group(drawn, modalities.index(task["entry"]))  # masked [b 1 n]
    predictions[name] = parts.predictors[name](latents, own)  # [b 1 n e]
    targets[name] = task["target"](batch, teachers)[:, None]  # [b 1 n e]
    errors = task["loss"](predictions[name], targets[name])  # [b 1 n]
    losses[f"loss_{name}"] = sample_mean(errors, own.weight)
  total = sum(losses.values(), start=jnp.float32(0.0))
  return Outcome(total, losses, drawn, predictions, targets)


def encode_modalities(parts, batch, layers=None, *, modalities: tuple[str, ...]):
  """Encodes these modalities, any of them, with nothing masked: Latents, one after the other."""
  return parts.encoder(pooled(parts, batch, modalities), layers=layers)


def pooled(parts, batch, modalities: tuple[str, ...]) -> Tokens:
  """Joins the tokens of all `modalities`, one after the other, on the grid (s, rows, columns).

  Positions are those within a modality. InputError where one is missing or the grids differ.
  """
  missing = [name for name in modalities if name not in batch or name not in parts.tokenizers]
  if missing or not modalities:
    there = sorted(set(batch) & set(parts.tokenizers))
    raise InputError(
      f"modalities: {', '.join(missing) or 'none'} asked for, but data and tokenizers share "
      f"{', '.join(there) or 'none'}. Change `modalities`, or give data that has them."
    )
  cut = [parts.tokenizers[name](batch[name]) for name in modalities]
  if len({tokens.grid for tokens in cut}) > 1:
    grids = ", ".join(f"{name} {t.grid}" for name, t in zip(modalities, cut, strict=True))
    raise InputError(
      f"modalities: all must share one grid; they lie on {grids}. Change the patches."
    )
  values, positions = (
    jnp.concatenate([getattr(t, key) for t in cut], 1) for key in ("values", "positions")
  )
  real, valid = [tokens.valid for tokens in cut], None
  if any(x is not None for x in real):
    shape = cut[0].values.shape[:2]
    valid = jnp.concatenate([jnp.ones(shape, bool) if x is None else x for x in real], 1)
  return Tokens(values, positions, valid, (len(cut), *cut[0].grid))


def group(mask: Mask, index: int) -> Mask:
  """Keeps one of the mask's groups of targets, [b 1 m]."""
  here = slice(index, index + 1)
  return dataclasses.replace(mask, masked=mask.masked[:, here], weight=mask.weight[:, here])


def sample_mean(values, weight):
  """Averages over the weighted places of each sample, then over the samples that have any."""
  values, weight = values.astype(jnp.float32), weight.astype(jnp.float32)
  total = jnp.sum(weight, (1, 2))
  each = jnp.sum(values * weight, (1, 2)) / jnp.maximum(total, 1e-12)
  counts = (total > 0).astype(jnp.float32)
  return jnp.sum(each * counts) / jnp.maximum(jnp.sum(counts), 1.0)


class MultimodalDecoder(nn.Module):
  """Predicts one modality from a pool: latents of a pool -> [b g m e] at all places of a group.

  Every place of the pool, which lies on the grid (s, ...), has its position and a learned embedding
  of its modality. Visible places hold their latents, the others a mask token. The places of a group
  (all of one modality, also visible ones) ask the visible places and the class tokens, by one
  cross-attention without residual and an mlp; blocks of self-attention, `stack` (layers.Stack),
  follow.
  Source: MultiMAE (arXiv 2204.01678), section 3.3 and appendix; details from its reference.
  """

  width: int
  target_width: int
  stack: nn.Module
  positions: Positions = SinCos()

  @nn.compact
  def __call__(
    self, latents: core.Latents, mask: core.Mask, context=None
  ) -> Float[Array, "b g m e"]:
    (b, g, m), dtype = mask.masked.shape, self.stack.dtype
    memory, places = self._laid_out(latents, mask)
    asked = core.take(places, mask.masked).reshape(b * g, m, self.width)
    valid = None
    if mask.valid is not None:
      valid = jnp.pad(mask.valid, ((0, 0), (0, latents.prefix.shape[1])), constant_values=True)
      valid = jnp.repeat(valid, g, axis=0)
    settings = dict(dtype=dtype, kernel_init=self.stack.kernel_init)
    attend = cross.CrossAttention(self.stack.heads, **settings, name="cross")
    memory = jnp.repeat(basic.norm(dtype, "norm_memory")(memory), g, axis=0)
    x = attend(basic.norm(dtype, "norm_asked")(asked), memory, valid)
    mlp = Mlp(self.stack.mlp_ratio, dtype, name="mlp")
    x = x + mlp(basic.norm(dtype, "norm_mlp")(x))
    x = self.stack(x, self._real(mask))
    return basic.dense(self.target_width, dtype, "head")(x).reshape(b, g, m, -1)

  def _real(self, mask):
    """Which of the places asked for exist, those of weight 0 if visible [b*g m]; None: all."""
    if mask.present is None:
      return None
    b, g, m = mask.masked.shape
    seen = gather.member(mask.visible, mask.positions.shape[1], mask.valid)
    shown = jnp.take_along_axis(seen, mask.masked.reshape(b, -1), axis=1).reshape(b, g, m)
    return ((mask.weight > 0) | shown).reshape(b * g, m)

  def _laid_out(self, latents, mask):
    """What is visible, class tokens last [b v+k d], and all places of the pool [b n d]."""
    n, k, count = mask.positions.shape[1], latents.prefix.shape[1], mask.grid[0]
    embed = basic.dense(self.width, self.stack.dtype, "embed")
    seen = embed(jnp.concatenate([latents.values, latents.prefix], 1))
    origin = self._draw("signal_embedding", (count, self.width))
    where = jnp.repeat(origin, n // count, axis=0)[None]
    code = self.positions.code(self._draw, mask.positions, mask.grid, self.width)
    where = where if code is None else code + where
    where = jnp.broadcast_to(where, (len(seen), n, self.width)).astype(seen.dtype)
    v = seen.shape[1] - k
    visible = seen[:, :v] + core.take(where, mask.visible)
    token = self._draw("mask_token", (1, 1, self.width), "zeros")
    # Entries that only fill up point behind the end, where a scatter drops them.
    index = mask.visible if mask.valid is None else jnp.where(mask.valid, mask.visible, n)
    places = gather.place(visible, index, where + token.astype(where.dtype))
    return jnp.concatenate([visible, seen[:, v:]], 1), places

  def _draw(self, name: str, shape: tuple[int, ...], start: str | None = None):
    return self.param(name, init.token(start or self.stack.kernel_init), shape)
