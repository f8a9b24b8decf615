"""Pictures of latents and codes, for methods that predict no pixels. Letters: b h w c n g m e.

A colour means nothing by itself: like colours are like latents, or the same code. The colours of a
picture span the range that its images have.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from mim_jax.core import Step
from mim_jax.ops import gather, patches
from mim_jax.pictures.grid import Pictures

DEVIATIONS = 2.5  # of a principal component, to either side, that the colours cover
GREY = 0.5


def features(
  parts,
  batch,
  step: Step,
  teachers=None,
  *,
  layer: int | None = None,
  teacher: str = "",
  signal: str = "image",
) -> Pictures:
  """The three main directions of the patch latents of whole images, as red, green and blue.

  layer: 1 = after the first block, None = the last, with its norm. teacher: the name of the teacher
  whose latents are shown ("ema"); "" shows the student's. Panels "original" and "features".
  """
  network = getattr(teachers, teacher) if teacher else parts
  tokens = network.tokenizer(batch[signal])  # Tokens [b n d]
  layers = None if layer is None else (layer,)
  latents = network.encoder(tokens, layers=layers)
  values = (latents if layers is None else latents[0]).values  # [b n d]
  image = batch[signal].astype(jnp.float32)
  colours = coloured(values, directions(values))
  panels = {"original": image, "features": painted(colours, _grid(tokens, values), image)}
  return Pictures(panels, _note("latents", "Nothing is predicted here: the network saw all of it."))


def predictions(
  parts,
  batch,
  step: Step,
  teachers=None,
  *,
  mask: Callable,
  target: Callable,
  signal: str = "image",
) -> Pictures:
  """Target latents, and what the network predicts of them, in the main directions of the targets.

  mask, target: as in the objective. Panels "original", "masked", "predicted", "target"; patches
  that are not predicted are grey in "predicted"; one predicted in several groups shows one of them.
  """
  image, drawn, predicted = _predicted(parts, batch, step, mask, signal)
  targets = target(batch, teachers).astype(jnp.float32)  # [b n e]
  axes = directions(targets)
  shown = _placed(coloured(predicted, axes), drawn, targets.shape[1])
  panels = {
    "original": image,
    "masked": _masked(image, drawn),
    "predicted": painted(shown, drawn.grid, image),
    "target": painted(coloured(targets, axes), drawn.grid, image),
  }
  return Pictures(panels, _note("target latents", "Grey patches were not predicted."))


def codes(
  parts,
  batch,
  step: Step,
  teachers=None,
  *,
  mask: Callable,
  target: Callable,
  signal: str = "image",
) -> Pictures:
  """True codes, and the likeliest ones by the network's logits [b g m K], a colour for each code.

  target: whole numbers [b n] or [b n 1], or shares of the codes [b n K]. Panels: see `predictions`.
  """
  image, drawn, logits = _predicted(parts, batch, step, mask, signal)
  truth = hues(_ids(target(batch, teachers)))  # [b n 3]
  found = hues(jnp.argmax(logits, -1).reshape(logits.shape[0], -1)).reshape(*logits.shape[:3], 3)
  panels = {
    "original": image,
    "masked": _masked(image, drawn),
    "predicted": painted(_placed(found, drawn, truth.shape[1]), drawn.grid, image),
    "target": painted(truth, drawn.grid, image),
  }
  return Pictures(panels, _note("codes", "Only the likeliest code is shown, however unsure."))


def directions(values: Float[Array, "b n e"]) -> tuple[Array, Array, Array]:
  """Principal components of all vectors: (mean [e], axes [e 3], deviation along each axis [3]).

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
  """A colour in [0, 1] for each whole number; neighbouring numbers get unlike colours."""
  turn = (ids.astype(jnp.float32) * 0.6180339)[..., None]  # the golden section spreads them evenly
  phase = jnp.asarray([0.0, 1 / 3, 2 / 3], jnp.float32)[None, None]
  light = 0.3 + 0.4 * jnp.mod(ids.astype(jnp.float32) * 0.7548777, 1.0)[..., None]
  return light + 0.3 * jnp.cos(2 * jnp.pi * (turn + phase))


def _predicted(parts, batch, step, mask, signal):
  """(image [b h w c], Mask, predictions [b g m e]), as `predict_masked` makes them."""
  tokens = parts.tokenizer(batch[signal])
  drawn = mask(step.key, tokens, progress=step.progress)
  predicted = parts.predictor(parts.encoder(tokens, drawn), drawn)
  return batch[signal].astype(jnp.float32), drawn, predicted.astype(jnp.float32)


def _ids(found: Array) -> Int[Array, "b n"]:
  """Whole numbers [b n] of codes, from themselves, with a last axis of one, or from shares."""
  if not jnp.issubdtype(found.dtype, jnp.integer):
    found = jnp.argmax(found, -1)
  return found[..., 0] if found.ndim == 3 else found


def coloured(values, axes) -> Array:
  """Vectors [... e] as colours [... 3] in [0, 1], by their places along the axes."""
  mean, vectors, deviation = axes
  one = (1,) * (values.ndim - 1)
  place = (values.astype(jnp.float32) - mean.reshape(*one, -1)) @ vectors
  return jnp.clip(0.5 + place / (2 * DEVIATIONS * deviation.reshape(*one, -1)), 0.0, 1.0)


def _placed(colours: Float[Array, "b g m 3"], drawn, n: int) -> Float[Array, "b n 3"]:
  """Colours of the predicted patches at their places; grey elsewhere."""
  b = colours.shape[0]
  # Entries that only fill up the draw point behind the end, where a scatter drops them.
  index = jnp.where(drawn.weight > 0, drawn.masked, n).reshape(b, -1)
  return gather.place(colours.reshape(b, -1, 3), index, jnp.full((b, n, 3), GREY))


def _masked(image, drawn) -> Array:
  """The image where it was visible, 0 elsewhere: [b h w c]."""
  seen: Bool[Array, "b n"] = gather.member(drawn.visible, drawn.positions.shape[1], drawn.valid)
  return jnp.where(_enlarged(seen[..., None], drawn.grid, image), image, 0.0)


def _grid(tokens, values) -> tuple[int, int]:
  """The grid the latents lie on; a hierarchical encoder's is coarser than its tokens'."""
  rows, columns = tokens.grid
  shrink = round((rows * columns / values.shape[1]) ** 0.5)
  return rows // shrink, columns // shrink


def _enlarged(cells: Array, grid, image) -> Array:
  """[b n e] on a grid -> [b h w e], as large as the image, each cell of one value."""
  sides = [side // count for side, count in zip(image.shape[1:3], grid, strict=True)]
  return patches.unpatchify(jnp.tile(cells, (1, 1, sides[0] * sides[1])), tuple(grid), tuple(sides))


def painted(colours: Float[Array, "b n 3"], grid, image) -> Float[Array, "b h w e"]:
  """Colours in [0, 1] on the scale of the images, red, green and blue also where those are grey."""
  c = image.shape[-1]
  if c > 1:
    colours = jnp.pad(colours[..., :c], ((0, 0), (0, 0), (0, max(0, c - 3))))
  low, high = (f(image, (0, 1, 2), keepdims=True) for f in (jnp.min, jnp.max))
  return low + (high - low) * _enlarged(colours, grid, image)


def _note(what: str, more: str) -> str:
  return (
    f"Colours show {what} of patches, not the image: like colours mean likeness within these "
    f"pictures, and the colours of two pictures cannot be compared. {more}"
  )
