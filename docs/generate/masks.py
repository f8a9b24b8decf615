"""The masks of the methods drawn over a photo. Letters: h w c, n tokens, g groups, m masked."""

import functools
import io
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from sklearn import datasets

from mim_jax import catalog, core, errors
from mim_jax import config as config_lib
from mim_jax.ops import positions

SIDE, GAP, DRAWS = 224, 8, 3
VEIL = np.array([120, 124, 134])  # over what is hidden
ACROSS, PAPER = 16, np.array([236, 232, 220])  # tokens in a line, and what is seen of them
TINTS = np.array([[222, 110, 60], [66, 133, 196], [88, 160, 92], [178, 102, 176]])  # a group each
ALONG = (
  "The pictures are one draw at three places along the first axis of the grid (times, or "
  "modalities)."
)
LINES = "Tokens follow each other line by line. Light ones are seen, coloured ones are targets."
STAND_IN = (
  "This mask follows a teacher, and none is trained here: the contrast of the patches stands in "
  "for what it would say."
)


@functools.cache
def photo() -> np.ndarray:
  """The middle of a photo that scikit-learn brings along: uint8 [224 224 3]."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    whole = datasets.load_sample_image("china.jpg")
  h, w = whole.shape[:2]
  left = (w - h) // 2
  return np.asarray(Image.fromarray(whole[:, left : left + h]).resize((SIDE, SIDE)))


def picture(method: str, grid: tuple[int, ...]) -> tuple[bytes, str]:
  """Draws a method's own mask on `grid`: PNG of draws side by side, and what is to be said of them.

  Over the grid of a clip, one draw at several times; over a pool of modalities, one on each. Tokens
  in one line are broken into several.
  """
  config = catalog.config_of(method)
  allow = tuple(config.get("allow_modules", ()))
  mask = config_lib.build(config.objective.mask, allow, where=method)
  drawn, followed = drawn_with(mask, grid)
  flat = np.stack([state(drawn, i * drawn.copies) for i in range(DRAWS)])
  if len(grid) == 1:
    image = np.concatenate([in_lines(states) for states in flat], 1)[:, :-GAP]
  else:
    states = flat.reshape(DRAWS, *grid)
    if len(grid) == 3:
      states = states[0, np.linspace(0, grid[0] - 1, DRAWS).astype(int)]
    image = np.concatenate([over(photo(), s) for s in states], 1)[:, :-GAP]
  shape = " × ".join(map(str, grid))
  note = f"On its grid of {shape} tokens, {counted(flat)}."
  remarks = [ALONG] * (len(grid) == 3) + [LINES] * (len(grid) == 1) + [STAND_IN] * followed
  return png(image), " ".join([note, *remarks])


def drawn_with(mask, grid: tuple[int, ...]) -> tuple[core.Mask, bool]:
  """Draws a mask, with scores where it refuses to go without: (the draws, whether it did)."""
  try:
    return jax.device_get(jax.jit(lambda: draw(mask, grid, None))()), False
  except errors.InputError:
    scores = jnp.broadcast_to(jnp.asarray(contrast(grid[-2:])), (DRAWS, int(np.prod(grid[-2:]))))
    return jax.device_get(jax.jit(lambda: draw(mask, grid, scores))()), True


def draw(mask, grid: tuple[int, ...], scores) -> core.Mask:
  """Draws DRAWS masks, as in the middle of training."""
  where = positions.grid_positions(grid)
  tokens = core.Tokens(
    jnp.zeros((DRAWS, len(where), 1)), jnp.broadcast_to(where, (DRAWS, *where.shape)), grid=grid
  )
  return mask(jax.random.key(1), tokens, scores=scores, progress=jnp.float32(0.5))


def contrast(grid: tuple[int, int]) -> np.ndarray:
  """Measures the std of the photo's brightness in every cell, [1 n]."""
  grey = photo().mean(-1)
  cells = grey.reshape(grid[0], SIDE // grid[0], grid[1], SIDE // grid[1])
  return cells.std((1, 3)).reshape(1, -1).astype(np.float32)


def state(drawn: core.Mask, i: int) -> np.ndarray:
  """Of each token of draw i: 0 seen, 1 hidden, 2 + group of targets: int [n]."""
  found = np.ones(drawn.positions.shape[1], int)
  valid = np.ones(drawn.visible.shape[1], bool) if drawn.valid is None else drawn.valid[i]
  found[drawn.visible[i][valid]] = 0
  for group, (members, weight) in enumerate(zip(drawn.masked[i], drawn.weight[i], strict=True)):
    found[members[weight > 0]] = 2 + group % len(TINTS)
  return found


def over(image: np.ndarray, states: np.ndarray) -> np.ndarray:
  """The photo with hidden cells veiled and targets tinted, and a margin."""
  cells = np.kron(states, np.ones((SIDE // states.shape[0], SIDE // states.shape[1]), int))
  colours = np.concatenate([[[0, 0, 0], VEIL], TINTS])[cells]
  mixed = np.where(cells[..., None] > 0, 0.15 * image + 0.85 * colours, image)
  margin = np.full((SIDE, GAP, 4), 0)
  solid = np.concatenate([mixed, np.full((SIDE, SIDE, 1), 255)], -1)
  return np.concatenate([solid, margin], 1).astype(np.uint8)


def in_lines(states: np.ndarray) -> np.ndarray:
  """Tokens [n] as cells of equal size, line by line: light where they are seen; and a margin."""
  side = SIDE // ACROSS
  filled = np.full(-(-len(states) // ACROSS) * ACROSS, -1)
  filled[: len(states)] = states
  colours = np.concatenate([[PAPER, VEIL], TINTS, [[0, 0, 0]]])  # the last is of no token
  cells = np.concatenate([colours[filled], np.where(filled < 0, 0, 255)[:, None]], -1)
  image = cells.reshape(-1, ACROSS, 4).repeat(side, 0).repeat(side, 1)
  image[::side] = image[:, ::side] = 0  # a thin gap between cells
  return np.concatenate([image, np.zeros((len(image), GAP, 4))], 1).astype(np.uint8)


def counted(states: np.ndarray) -> str:
  """How many tokens of each draw are seen and hidden, in words; states [draws n]."""
  seen, idle = (states == 0).sum(1), (states == 1).sum(1)
  text = f"{span(seen)} of {states.shape[1]} are seen"
  return f"{text}; of those hidden, {span(idle)} are no targets" if idle.any() else text


def span(counts: np.ndarray) -> str:
  """'49', or '63 to 117'."""
  return " to ".join(str(count) for count in sorted({counts.min(), counts.max()}))


def png(image: np.ndarray) -> bytes:
  """An image as a small PNG."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, "PNG", optimize=True)
  return file.getvalue()
