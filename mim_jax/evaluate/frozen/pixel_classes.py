"""Semantic segmentation by patch features. Letters: n images, t patches, h w pixels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax.data import mixing, pipeline
from mim_jax.data.image import augment
from mim_jax.data.pool import map_views
from mim_jax.errors import InputError
from mim_jax.evaluate import features, numbers
from mim_jax.evaluate.frozen import logistic

IGNORED = (255, 65_535)  # ids that mean "no class" in published maps


def segmentation(
  encode,
  data,
  seed,
  *,
  classifier: str = "linear",
  k: int = 20,
  temperature: float = 0.07,
  strength: float = 0.1,
  patches: int = 50_000,
  train: Callable | None = None,
  test: Callable | None = None,
  signal: str = "semantic",
  layer: int | None = None,
  last: int = 1,
  size: int = 0,
  batch_size: int = 256,
) -> dict[str, numbers.Number]:
  """Measures mean IoU over classes, and pixel accuracy, of a classifier of single patches.

  classifier: "linear" (logistic regression) or "knn".
  k, temperature: of "knn".
  strength: inverse penalty of "linear".
  patches: training patches drawn by `seed`, of an eighth as many images.
  train, test: sources with class maps (config nodes), None for the run's own.
  signal: the batch's entry of class maps.
  layer, last, size: of the features, see network.Encoder.
  batch_size: of encoding.

  A patch is labelled with the class of most of its pixels; a predicted class counts for all pixels
  of its patch. Ids 255 and 65535 are no class; the mean is over classes that the test pixels have.
  NoLabels where there are no maps.
  """
  where = dict(layer=layer, last=last)
  sources = [
    own if given is None else given() for given, own in ((train, data.train), (test, data.test))
  ]
  for source in sources:
    if signal not in source[np.arange(1)]:
      raise features.NoLabels(f"needs maps {signal!r} of classes, and the images have none")
  # Not all tokens of all images: they would not fit into memory.
  rows = np.random.default_rng(seed).permutation(len(sources[0]))[: max(1, patches // 8)]
  sources[0] = mixing.Subset(sources[0], np.sort(rows))
  (bank, known), (queries, truth) = (
    read(encode, source, signal, batch_size, size, **where) for source in sources
  )
  labels = majority(known, bank.shape[1]).reshape(-1)
  usable = np.flatnonzero(~np.isin(labels, IGNORED))
  chosen = np.random.default_rng(seed).permutation(usable)[:patches]
  bank = bank.reshape(-1, bank.shape[-1])[chosen]
  predict = logistic.predictor(classifier, bank, labels[chosen], k, temperature, strength)
  found = predict(queries.reshape(-1, queries.shape[-1])).reshape(queries.shape[:2])
  return scores(enlarged(found, truth.shape[1:]), truth)


def read(encode, source, signal: str, batch_size: int, size: int = 0, **where):
  """Encodes a source: (patch features [n t e], classes of the view's pixels [n h w])."""
  encode = features.uncached(encode)
  values, _ = features.features(encode, source, batch_size, pool="tokens", size=size, **where)
  view = view_of(encode)
  pixels = (size, size) if size else tuple(view.size)
  near = jax.jit(lambda b: seen(b, signal, pixels, view.resize))
  maps = [np.asarray(near(b))[:count] for b, count in pipeline.in_order(source, batch_size)]
  return values, np.concatenate(maps).astype(np.int32)


def view_of(encode):
  """Finds the config node of an encode's view: of an Encoder, or of its program's `plain`."""
  inner = getattr(encode, "encode", encode)
  program = getattr(inner, "program", getattr(inner, "__self__", None))
  if program is None:
    raise InputError("segmentation: this encode does not say which part of an image it sees.")
  return program.config.data.view


def seen(batch: dict, signal: str, size: tuple[int, int], resize: float):
  """Resamples class maps to the view: the class under each pixel's centre, [b h w]."""
  box = augment.center_boxes(batch["size"], size, resize)
  still = jnp.zeros(box.shape[:1], bool)
  return map_views.nearest(batch[signal], batch["size"], box, size, still)


def grid_of(t: int, size: tuple[int, int]) -> tuple[int, int]:
  """Computes rows and columns of t patches of an image; InputError where they are no even grid."""
  rows = round((t * size[0] / size[1]) ** 0.5)
  if rows < 1 or t % rows or size[0] % rows or size[1] % (t // rows):
    raise InputError(f"segmentation: {t} tokens are no grid of patches of {size} pixels.")
  return rows, t // rows


def majority(classes: np.ndarray, t: int) -> np.ndarray:
  """Finds the majority class of each patch's pixels: [n h w] -> [n t]; the least among equals."""
  n, h, w = classes.shape
  rows, columns = grid_of(t, (h, w))
  cut = classes.reshape(n, rows, h // rows, columns, w // columns).swapaxes(2, 3).reshape(n, t, -1)
  present = np.unique(classes)
  counts = np.stack([(cut == value).sum(-1) for value in present], -1)
  return present[counts.argmax(-1)]


def enlarged(found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Repeats each patch's value at all of its pixels: [n t] -> [n h w]."""
  rows, columns = grid_of(found.shape[1], size)
  grid = found.reshape(len(found), rows, columns)
  return grid.repeat(size[0] // rows, 1).repeat(size[1] // columns, 2)


def scores(found: np.ndarray, truth: np.ndarray) -> dict[str, numbers.Number]:
  """Computes mean IoU over the classes in truth, and pixel accuracy; [n h w], without IGNORED."""
  known = ~np.isin(truth, IGNORED)
  found, truth = found[known], truth[known]
  shares = []
  for value in np.unique(truth):
    union = np.sum((found == value) | (truth == value))
    shares.append(np.sum((found == value) & (truth == value)) / union)
  return numbers.fractions({"miou": np.mean(shares), "pixel_accuracy": np.mean(found == truth)})
