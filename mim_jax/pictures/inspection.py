"""What an encoder makes of images: features as colours, attention, layers, nearest neighbours.

Letters: b batch, n tokens, h heads, e feature width, q queries, l layers.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax.errors import InputError
from mim_jax.evaluate.frozen import neighbours
from mim_jax.layers.rebinding import with_settings
from mim_jax.pictures import grid, palette
from mim_jax.pictures.grid import Pictures

TILE, BAR = 72, 4  # pixels of a neighbour's side at most, and of the bar beside it
LINE = 480  # the same for one more than twice as wide as high, such as lines of a text
ALIKE, UNLIKE = (20, 145, 155, 255), (215, 95, 40, 255)  # colours of the bar: same class or not
KNOWN, ASKED = 2048, 512  # images at most: training images looked among, test images looked for
NEIGHBOURS, QUERIES, HEADS = 7, 6, 4  # pictures of each
NOTE = (
  "Features: the three main directions of the patches' latents, as red, green and blue; like "
  "colours mean likeness within these pictures. "
)
ATTENTION = (
  "Attention: whom the class token attends to in the last block, the mean of its heads and some "
  "of them, each from its least (dark) to its most (bright). A class token that no loss asks "
  "anything of may attend to anything."
)
NO_CLASS = "There is no attention of a class token: this encoder has none."
# From least to most, as red, green, blue: dark violet, red, yellow; brightness grows all along.
HEAT = (
  (0.0, 0.0, 0.05),
  (0.35, 0.07, 0.43),
  (0.8, 0.25, 0.33),
  (0.98, 0.6, 0.2),
  (0.98, 0.99, 0.7),
)


def layers(parts, encode, batch) -> list[jax.Array]:
  """The mean of the patch latents behind every layer, float32 [b e] each."""
  wanted = tuple(range(1, parts.encoder.layer_count + 1))
  found = encode(parts, batch, layers=wanted)
  return [jnp.mean(latents.values.astype(jnp.float32), 1) for latents in found]


class Shown(NamedTuple):
  """How samples become images.

  Attributes:
    still: one image of each sample of a viewed batch, see modalities.
    paint: panels to images in [0, 1].
  """

  still: Callable
  paint: Callable


def seen(still, parts, encode, batch) -> Pictures:
  """Panels "original", "features", and "attention" with "head 1" ... where there is a class token.

  InputError where the patches do not lie on a 2-D grid of at least four.
  """
  image = still(batch).astype(jnp.float32)
  attends = bool(getattr(parts.encoder, "class_tokens", 0))
  latents = encode(Attending(parts) if attends else parts, batch)
  attended = latents.extras.get("attention")
  grid = grid_of(latents.values.shape[1], image.shape)
  colours = palette.coloured(latents.values, palette.directions(latents.values))
  panels = {"original": image, "features": palette.painted(colours, grid, image)}
  if attended is None:
    return Pictures(panels, NOTE + NO_CLASS)
  weights = attended[:, :, 0, latents.prefix.shape[1] :].astype(jnp.float32)  # [b h n]
  panels["attention"] = palette.painted(heat(jnp.mean(weights, 1)), grid, image)
  for i in range(min(weights.shape[1], HEADS)):
    panels[f"head {i + 1}"] = palette.painted(heat(weights[:, i]), grid, image)
  return Pictures(panels, NOTE + ATTENTION)


class Attending:
  """Parts whose encoder records whom its class tokens attend to."""

  def __init__(self, parts):
    self._parts = parts
    self.encoder = with_settings(parts.encoder, record=("attention",))

  def __getattr__(self, name: str):
    return getattr(self._parts, name)


def grid_of(n: int, shape) -> tuple[int, int]:
  """(rows, columns) of n patches over images of `shape` [b h w c]."""
  if len(shape) == 4:
    height, width = shape[1:3]
    rows = max(1, round((n * height / width) ** 0.5))
    columns = n // rows
    if n >= 4 and rows * columns == n and height % rows == 0 and width % columns == 0:
      return rows, columns
  raise InputError(
    f"features as colours need four or more patches on a 2-D grid; here are {n} over "
    f"{' x '.join(map(str, shape[1:-1]))}."
  )


def heat(values: jax.Array) -> jax.Array:
  """Colours [b n 3] in [0, 1] of numbers [b n], each image from its least to its most."""
  low, high = (f(values, 1, keepdims=True) for f in (jnp.min, jnp.max))
  share = (values - low) / jnp.maximum(high - low, 1e-12)
  stops = jnp.linspace(0.0, 1.0, len(HEAT))
  channels = [jnp.interp(share, stops, jnp.asarray(c)) for c in zip(*HEAT, strict=True)]
  return jnp.stack(channels, -1)


def spread(source, limit: int) -> np.ndarray:
  """At most `limit` indices of a source, evenly spread over it."""
  return np.linspace(0, len(source) - 1, min(limit, len(source))).astype(int)


def draw_seen(path: pathlib.Path, look, data, shown: Shown) -> dict:
  """Writes features/NN.png of eight test images: {"note", "panels"}.

  look: function(parts, encode, batch) -> the same of raw batches.
  """
  pictures = look(functools.partial(seen, shown.still))(data.test[spread(data.test, 8)])
  return grid.save(path, pictures, shown.paint, name="features")


def draw_neighbours(path: pathlib.Path, look, data, shown: Shown) -> dict:
  """Writes neighbours/NN.png, a test image and the training images most like it: what they show.

  {"among": number of training images, "said": a line a picture, "by_layer": {"known", "asked":
  numbers of images, "k", "accuracy": a number a layer} or {"missing": why}}. look: as above.
  """
  from PIL import Image

  ask = look(layers)
  bank, known = encoded(ask, data.train, spread(data.train, KNOWN))
  asked, wanted = encoded(ask, data.test, spread(data.test, ASKED))
  chosen = np.linspace(0, len(wanted) - 1, min(QUERIES, len(wanted))).astype(int)
  found = nearest(bank[-1], asked[-1][chosen], NEIGHBOURS)  # [q k]
  still = look(lambda parts, encode, batch: shown.still(batch))
  tiles = functools.partial(as_tiles, still, shown.paint)
  rows = spread(data.train, KNOWN)[found.ravel()]
  queries = tiles(data.test[spread(data.test, ASKED)[chosen]])
  others = tiles(data.train[rows]).reshape(*found.shape, *queries.shape[1:])
  files, said = {}, []
  for i, label in enumerate(wanted[chosen]):
    alike = known[found[i]] == label if label >= 0 else None
    files[f"{i:02d}.png"] = Image.fromarray(strip(queries[i], others[i], alike))
    name = None if alike is None else data.test.classes[label]
    said.append(
      "" if alike is None else f"{name} · so are {alike.sum()} of {len(alike)} neighbours"
    )
  grid.write(path / "neighbours", files)
  return {"among": len(known), "said": said, "by_layer": by_layer(bank, known, asked, wanted)}


def encoded(ask, source, indices, batch_size: int = 256) -> tuple[list[np.ndarray], np.ndarray]:
  """(`layers` of images of a source [n e] each, labels [n], -1 = none); ask: of a raw batch."""
  found, labels = [], []
  for start in range(0, len(indices), batch_size):
    rows = indices[start : start + batch_size]
    batch = source[np.resize(rows, min(batch_size, len(indices)))]  # one shape, one compilation
    found.append([x[: len(rows)] for x in ask(batch)])
    labels.append(np.asarray(batch["label"])[: len(rows)])
  return [np.concatenate(layer) for layer in zip(*found, strict=True)], np.concatenate(labels)


def by_layer(bank, labels, asked, truth, k: int = 20) -> dict:
  """Accuracy of `vote` by the features of each layer, of the images that have a label."""
  known, wanted = labels >= 0, truth >= 0
  if not known.any() or not wanted.any():
    return {"missing": "needs labels, and there are none"}
  k = min(k, int(known.sum()))
  accuracy = [
    float(np.mean(neighbours.vote(b[known], labels[known], a[wanted], k) == truth[wanted]))
    for b, a in zip(bank, asked, strict=True)
  ]
  return dict(known=int(known.sum()), asked=int(wanted.sum()), k=k, accuracy=accuracy)


def nearest(bank: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
  """The k rows of `bank` [n e] most like each of `asked` [q e] by angle, nearest first: [q k]."""
  unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (asked, bank)]
  return np.argsort(-(unit[0] @ unit[1].T), axis=1, kind="stable")[:, :k]


def as_tiles(look, paint, batch) -> np.ndarray:
  """Draws raw samples, uint8 [b h w 3], no side longer than TILE or LINE (small ones enlarged)."""
  panels = paint({"": look(batch)})
  return np.stack([_tile(x) for x in grid.to_bytes(panels[""])[..., :3]])


def _tile(pixels: np.ndarray) -> np.ndarray:
  from PIL import Image

  factor = (LINE if wide(pixels) else TILE) / max(pixels.shape[:2])
  if factor >= 1:
    return pixels.repeat(int(factor), 0).repeat(int(factor), 1)
  size = [max(1, round(side * factor)) for side in pixels.shape[1::-1]]
  return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def wide(pixels: np.ndarray) -> bool:
  """Tells whether an image [h w 3] is one to read in a line, and to lay below others."""
  return pixels.shape[1] > 2 * pixels.shape[0]


def strip(query: np.ndarray, others: np.ndarray, alike=None) -> np.ndarray:
  """Lays the query [h w 3], a gap, and the others [k h w 3] side by side: uint8 [h' w' 4].

  Each with a bar for what `alike` [k] says. Wide ones lie below each other.
  """
  if wide(query):
    turned = strip(query.swapaxes(0, 1), others.swapaxes(1, 2), alike)
    return turned.swapaxes(0, 1)
  height, width = query.shape[:2]
  line = np.zeros((height + BAR + 3, (width + 4) * (len(others) + 1) + 12, 4), np.uint8)
  for i, tile in enumerate([query, *others]):
    left = i * (width + 4) + (12 if i else 0)
    line[:height, left : left + width] = np.concatenate(
      [tile, np.full_like(tile[..., :1], 255)], -1
    )
    if i and alike is not None:
      line[-BAR:, left : left + width] = ALIKE if alike[i - 1] else UNLIKE
  return line
