"""Painters of latents and codes, for methods that predict no pixels. Letters: b h w c n g m e.

A colour means nothing by itself: like colours are like latents, or the same code. The colours of a
picture span the range that its images have.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from mim_jax import core
from mim_jax.ops import gather
from mim_jax.pictures.grid import Pictures
from mim_jax.pictures.heat import drawn, enlarged
from mim_jax.pictures.values import first_copies

STDS = 2.5  # of a principal component, to either side, that the colours cover
GREY = 0.5


def latents(batch, outcome: core.Outcome, *, entry: str) -> Pictures:
  """Draws target latents and what is predicted of them, in the main directions of the targets.

  Panels "original", "masked", "predicted", "target"; patches that are not predicted are grey; one
  predicted in several groups shows one of them. Of several scales, {name: [b 1 s e]}, each has a
  panel "NAME predicted" and "NAME target", all s cells of it.
  """
  image, mask = batch[entry].astype(jnp.float32), drawn(outcome)
  panels = shown(image, mask)
  if not isinstance(outcome.predictions, dict):
    axes = directions(outcome.targets)
    both = {"predicted": outcome.predictions, "target": outcome.targets}
    both = {name: coloured(x.astype(jnp.float32), axes) for name, x in both.items()}
    return _pictures(panels, both, mask, image, "target latents", ONLY_ASKED)
  for name, target in outcome.targets.items():
    axes = directions(target)
    grid = cell_grid(mask.grid, target.shape[2])
    for what, x in (("predicted", outcome.predictions[name]), ("target", target)):
      panels[f"{name} {what}"] = painted(coloured(x[:, 0], axes), grid, image)
  return Pictures(panels, _note("targets", "Cells of which all was visible are shown, too."))


def codes(batch, outcome: core.Outcome, *, entry: str) -> Pictures:
  """Draws true codes and the likeliest ones by the logits [b g m K], a colour for each code.

  Targets: whole numbers [b g m] or [b g m 1], or shares of the codes [b g m K]. Panels: see
  `latents`.
  """
  image, mask = batch[entry].astype(jnp.float32), drawn(outcome)
  ids = {"predicted": jnp.argmax(outcome.predictions, -1), "target": _ids(outcome.targets)}
  both = {name: hues(x.reshape(len(x), -1)).reshape(*x.shape, 3) for name, x in ids.items()}
  told = f"Only the likeliest code is shown, however unsure. {ONLY_ASKED}"
  return _pictures(shown(image, mask), both, mask, image, "codes", told)


ONLY_ASKED = "Grey patches were not predicted."


def _pictures(panels, both: dict, mask: core.Mask, image, what: str, more: str) -> Pictures:
  """Adds colours [b g m 3] at the places they were asked for."""
  mask, both = first_copies((mask, both), mask.copies)
  n = mask.positions.shape[1]
  panels |= {name: painted(_placed(x, mask, n), mask.grid, image) for name, x in both.items()}
  return Pictures(panels, _note(what, more))


def shown(image: Array, mask: core.Mask) -> dict[str, Array]:
  """Draws the panels "original", and "masked": the image where it was visible, 0 elsewhere."""
  mask = first_copies(mask, mask.copies)
  seen = gather.member(mask.visible, mask.positions.shape[1], mask.valid)
  masked = jnp.where(enlarged(seen[..., None], mask.grid, image), image, 0.0)
  return {"original": image, "masked": masked}


def directions(values: Float[Array, "*b e"]) -> tuple[Array, Array, Array]:
  """Finds the principal components of all vectors: (mean [e], axes [e 3], std along each axis [3]).

  With e < 3 the missing axes are 0. An axis points to where its largest entry is positive.
  """
  flat = values.astype(jnp.float32).reshape(-1, values.shape[-1])
  mean = jnp.mean(flat, 0)
  centred = flat - mean[None]
  variance, vectors = jnp.linalg.eigh(centred.T @ centred / flat.shape[0])  # ascending
  axes, variance = vectors[:, ::-1][:, :3], variance[::-1][:3]
  largest = jnp.take_along_axis(axes, jnp.argmax(jnp.abs(axes), 0)[None], axis=0)
  missing = 3 - axes.shape[1]
  axes = jnp.pad(jnp.where(largest < 0, -axes, axes), ((0, 0), (0, missing)))
  return mean, axes, jnp.sqrt(jnp.maximum(jnp.pad(variance, (0, missing)), 1e-12))


def hues(ids: Int[Array, "b n"]) -> Float[Array, "b n 3"]:
  """Gives each whole number a colour in [0, 1]; neighbouring numbers get unlike colours."""
  turn = (ids.astype(jnp.float32) * 0.6180339)[..., None]  # the golden section spreads them evenly
  phase = jnp.asarray([0.0, 1 / 3, 2 / 3], jnp.float32)[None, None]
  light = 0.3 + 0.4 * jnp.mod(ids.astype(jnp.float32) * 0.7548777, 1.0)[..., None]
  return light + 0.3 * jnp.cos(2 * jnp.pi * (turn + phase))


def _ids(found: Array) -> Int[Array, "b g m"]:
  """Whole numbers of codes, from themselves, with a last axis of one, or from shares."""
  if not jnp.issubdtype(found.dtype, jnp.integer):
    found = jnp.argmax(found, -1)
  return found[..., 0] if found.ndim == 4 else found


def coloured(values, axes) -> Array:
  """Turns vectors [... e] into colours [... 3] in [0, 1], by their places along the axes."""
  mean, vectors, std = axes
  one = (1,) * (values.ndim - 1)
  place = (values.astype(jnp.float32) - mean.reshape(*one, -1)) @ vectors
  return jnp.clip(0.5 + place / (2 * STDS * std.reshape(*one, -1)), 0.0, 1.0)


def _placed(colours: Float[Array, "b g m 3"], mask, n: int) -> Float[Array, "b n 3"]:
  """Colours of the predicted patches at their places; grey elsewhere."""
  b = colours.shape[0]
  # Entries that only fill up the draw point behind the end, where a scatter drops them.
  index = jnp.where(mask.weight > 0, mask.masked, n).reshape(b, -1)
  return gather.place(colours.reshape(b, -1, 3), index, jnp.full((b, n, 3), GREY))


def cell_grid(grid, cells: int) -> tuple[int, int]:
  """Finds the grid of that many cells over the same image as `grid`, coarser or finer."""
  rows, columns = grid
  finer = (cells / (rows * columns)) ** 0.5
  return round(rows * finer), round(columns * finer)


def painted(colours: Float[Array, "b n 3"], grid, image) -> Float[Array, "b h w e"]:
  """Puts colours in [0, 1] on the scale of the images: in colour also where those are grey."""
  c = image.shape[-1]
  if c > 1:
    colours = jnp.pad(colours[..., :c], ((0, 0), (0, 0), (0, max(0, c - 3))))
  low, high = (f(image, (0, 1, 2), keepdims=True) for f in (jnp.min, jnp.max))
  return low + (high - low) * enlarged(colours, grid, image)


def _note(what: str, more: str) -> str:
  return (
    f"Colours show {what} of patches, not the image: like colours mean likeness within these "
    f"pictures, and the colours of two pictures cannot be compared. {more}"
  )
