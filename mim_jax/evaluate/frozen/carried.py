"""Propagation of the first frame's mask in a clip. Letters: t frames, n patches, h w pixels."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mim_jax.data.image import augment
from mim_jax.data.video import frames as frames_lib
from mim_jax.data.video import moving
from mim_jax.errors import InputError
from mim_jax.evaluate import features, numbers
from mim_jax.evaluate.frozen import pixel_classes


@features.deterministic
def propagation(
  encode,
  data,
  seed,
  *,
  clips: Callable | None = None,
  count: int = 50,
  threshold: float = 0.25,
  context: int = 7,
  neighbours: int = 5,
  radius: float = 12.0,
  temperature: float = 0.1,
  tolerance: float = 0.008,
  layer: int | None = None,
  size: int = 0,
) -> dict[str, numbers.Number]:
  """Measures J (region), F (boundary) and their mean, of masks propagated by patch similarity.

  clips: a source of clips (a config node); the moving digits unless given.
  count: of clips.
  threshold: the true mask is where pixels are brighter.
  context: frames before each that are searched beside the first.
  neighbours: nearest patches that a patch takes its mask from.
  radius: in patches, within which they lie.
  temperature: of their weights exp(cosine / temperature).
  tolerance: of boundaries, as a fraction of the diagonal.
  layer, size: of the features, see network.Encoder.

  The protocol of DAVIS as in DINO (appendix A; its eval_video_segmentation.py): a patch takes the
  weighted mean mask of its neighbours; the first frame's mask is given. Scores are those of the
  frames between the first and the last. This is no DAVIS score.
  """
  sample = functools.partial(frames_lib.dense, frames=10, stride=1)
  source = moving.moving_digits(split="test", sample=sample) if clips is None else clips()
  batch = source[np.arange(min(count, len(source)))]
  image = batch["image"]  # [b t H W c]
  if image.ndim != 5 or image.shape[1] < 3:
    raise InputError("propagation: clips of three frames or more are needed.")
  carry = functools.partial(carried, context, neighbours, temperature)
  regions, boundaries = [], []
  for frames, (h, w) in zip(image, batch["size"], strict=True):
    tokens, view = of_frames(encode, frames, (h, w), layer, size)
    masks = view.mean(-1) > threshold  # [t h w]
    rows, columns = pixel_classes.grid_of(tokens.shape[1], masks.shape[1:])
    first = shrunk(masks[0].astype(np.float32), (rows, columns))
    near = jnp.asarray(close(rows, columns, radius))
    found = np.asarray(carry(jnp.asarray(tokens), jnp.asarray(first.reshape(-1)), near))
    found = grown(found.reshape(-1, rows, columns), masks.shape[1:]) > 0.5
    for i in range(1, len(masks) - 1):
      regions.append(overlap(found[i], masks[i]))
      boundaries.append(boundary(found[i], masks[i], tolerance))
  region, edge = float(np.mean(regions)), float(np.mean(boundaries))
  return numbers.fractions({"j_and_f": (region + edge) / 2, "j": region, "f": edge})


def of_frames(encode, frames: np.ndarray, whole, layer, size: int):
  """Encodes frames: (patch features [t n e], the encoder's view of them [t h w c] in 0..1)."""
  t = len(frames)
  raw = {
    "image": frames,
    "size": np.broadcast_to(np.asarray(whole, np.int32), (t, 2)),
    "label": np.full(t, -1, np.int32),
  }
  tokens = np.asarray(encode(raw, layer=layer, pool="tokens", **({"size": size} if size else {})))
  view = pixel_classes.view_of(encode)
  pixels = (size, size) if size else tuple(view.size)
  box = augment.center_boxes(jnp.asarray(raw["size"]), pixels, view.resize)
  seen = augment.resample(jnp.asarray(frames), jnp.asarray(raw["size"]), box, pixels)
  return tokens, np.asarray(seen) / 255.0


def close(rows: int, columns: int, radius: float) -> np.ndarray:
  """Finds patches within `radius` of each other along both axes, bool [n n]."""
  place = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
  place = place.reshape(-1, 2)
  return np.abs(place[:, None] - place[None]).max(-1) <= radius


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def carried(context: int, neighbours: int, temperature: float, tokens, first, near):
  """Propagates a soft mask, [t n]: tokens [t n e], first [n] in 0..1, near bool [n n]."""
  t, n, _ = tokens.shape
  tokens = tokens / jnp.maximum(jnp.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
  masks = [first]
  for i in range(1, t):
    past = [0, *range(max(1, i - context), i)]
    alike = jnp.einsum("ne,pme->npm", tokens[i], tokens[jnp.asarray(past)], precision="highest")
    alike = jnp.where(near[:, None], alike, -jnp.inf).reshape(n, -1)
    best, index = jax.lax.top_k(alike, min(neighbours, alike.shape[1]))
    weight = jax.nn.softmax(best / temperature, axis=-1)
    known = jnp.stack([masks[p] for p in past]).reshape(-1)
    masks.append(jnp.sum(weight * known[index], -1))
  return jnp.stack(masks)


def shrunk(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Averages a mask [h w] over each patch, [rows columns]."""
  (h, w), (rows, columns) = mask.shape, grid
  return mask.reshape(rows, h // rows, columns, w // columns).mean((1, 3))


def grown(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Upsamples soft masks [t rows columns] bilinearly to all pixels, [t h w]."""
  return np.asarray(jax.image.resize(masks, (len(masks), *size), "linear"))


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
  """Computes the intersection over union of two masks [h w], 1 where both are empty."""
  union = np.sum(found | truth)
  return float(np.sum(found & truth) / union) if union else 1.0


def boundary(found: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
  """Computes F of the boundaries of two masks [h w], up to `tolerance` x diagonal apart; in [0, 1].

  Source: Perazzi et al., CVPR 2016, section 3; a boundary is what erosion takes away.
  """
  reach = np.ceil(tolerance * np.hypot(*truth.shape))
  y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
  disk = x**2 + y**2 <= reach**2
  edges = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (found, truth)]
  wide = [ndimage.binary_dilation(edge, disk) for edge in edges]
  if not edges[0].any() or not edges[1].any():
    return float(not edges[0].any() and not edges[1].any())
  precision = np.mean(wide[1][edges[0]])
  recall = np.mean(wide[0][edges[1]])
  return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
