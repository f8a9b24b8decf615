"""Pictures of clips and of pairs of views. Letters: b batch, t h w c, n cubes, e values."""

import functools
import types
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from mim_jax.core import Step
from mim_jax.ops import gather, patches
from mim_jax.pictures import grid
from mim_jax.targets import cube as target


def cubes(
  parts,
  batch,
  step: Step,
  teachers=None,
  *,
  mask: Callable,
  tubelet: int,
  patch: int,
  std: tuple[float, ...],
  normalize: bool = True,
  frames: int = 4,
  signal: str = "image",
) -> grid.Pictures:
  """Panels "original", "masked", "reconstruction" of clips, `frames` of their frames side by side.

  std, normalize: as in targets.cubes; with `normalize` the true mean and deviation of every cube
  are put back, and guessed ones in a fourth panel, as in `grid.pixels`. Visible cubes are
  pasted from the original.
  """
  clip = batch[signal].astype(jnp.float32)
  tokens = parts.tokenizer(batch[signal])  # Tokens [b n d]
  drawn = mask(step.key, tokens, progress=step.progress)  # visible [b v], masked [b g m]
  predictions = parts.predictor(parts.encoder(tokens, drawn), drawn)  # [b g m e]
  cut = patches.patchify(clip, (tubelet, patch, patch))  # [b n e]
  b, n, e = cut.shape
  predicted = predictions.astype(jnp.float32).reshape(b, -1, e)
  placed = gather.place(predicted, drawn.masked.reshape(b, -1), jnp.zeros_like(cut))
  seen = gather.member(drawn.visible, n)[..., None]
  shown = {"reconstruction": placed}
  if normalize:
    _, *true = target.normalize_cubes(cut, std)  # mean and deviation [b n 1 c]
    guess = [grid.guessed(x[:, :, 0], seen, drawn.positions)[:, :, None] for x in true]
    values = placed.reshape(b, n, -1, len(std))
    whole = {"reconstruction": true, grid.VISIBLE: guess}
    shown = {name: (values * d + m).reshape(b, n, e) for name, (m, d) in whole.items()}
  panels = {"original": cut, "masked": jnp.where(seen, cut, 0.0)}
  panels |= {name: jnp.where(seen, cut, x) for name, x in shown.items()}
  join = functools.partial(patches.unpatchify, grid=tokens.grid, patch=(tubelet, patch, patch))
  return grid.Pictures(
    {name: side_by_side(join(x), frames) for name, x in panels.items()},
    f"{frames} frames of each clip side by side. " + grid.note(normalize),
  )


def from_context(
  parts,
  batch,
  step: Step,
  teachers=None,
  *,
  mask: Callable,
  patch: int,
  normalize: bool = True,
  signal: str = "image",
  context: str = "context",
) -> grid.Pictures:
  """As grid.pixels, where the predictor also sees another view whole: panel "context"."""
  whole = parts.encoder(parts.tokenizer(batch[context]))
  helped = functools.partial(parts.predictor, context=whole)
  both = types.SimpleNamespace(tokenizer=parts.tokenizer, encoder=parts.encoder, predictor=helped)
  pictures = grid.pixels(
    both, batch, step, teachers, mask=mask, patch=patch, normalize=normalize, signal=signal
  )
  panels = {**pictures.panels, "context": batch[context].astype(jnp.float32)}
  return grid.Pictures(panels, f"{pictures.note} The network saw the context whole.")


def side_by_side(clip: Array, frames: int) -> Array:
  """`frames` frames in a row, from the first to the last: [b t h w c] -> [b h w c]."""
  b, t, h, _, c = clip.shape
  chosen = clip[:, np.linspace(0, t - 1, min(frames, t)).round().astype(int)]
  return jnp.moveaxis(chosen, 1, 2).reshape(b, h, -1, c)
