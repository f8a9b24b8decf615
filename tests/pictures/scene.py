"""What painters are given in these tests: images, and outcomes as an objective returns them."""

import jax
import jax.numpy as jnp
import numpy as np

from mim_jax import core
from mim_jax.ops import patches, positions

PATCH, SIDE, GRID, N = 2, 8, (4, 4), 16


def images(b=3, c=1):
  """A batch of images [b 8 8 c], of 16 patches each."""
  return {"image": jax.random.normal(jax.random.key(0), (b, SIDE, SIDE, c))}


def tokens(b=3, grid=GRID):
  """Tokens of nothing, on a grid."""
  where = positions.grid_positions(grid)
  return core.Tokens(
    jnp.zeros((b, len(where), 1)), jnp.broadcast_to(where, (b, *where.shape)), grid=grid
  )


def even_and_odd(b=3, grid=GRID):
  """A mask that shows every second token of row 0, 1 ..., shifted by the number of the sample."""
  n = int(np.prod(grid))
  ids = (jnp.arange(n)[None] + jnp.arange(b)[:, None]) % n
  return core.make_mask(tokens(b, grid), ids[:, ::2], ids[:, 1::2])


def padded(b=3):
  """Of the three visible entries one only fills up (token 2), of the two masked as well (5)."""
  ids = jnp.broadcast_to(jnp.arange(N), (b, N))
  weight = jnp.broadcast_to(jnp.asarray([1.0, 0.0]), (b, 2))[:, None]
  valid = jnp.broadcast_to(jnp.asarray([True, True, False]), (b, 3))
  return core.make_mask(tokens(b), ids[:, :3], ids[:, 4:6], weight, valid)


def outcome(mask, truth, targets=None, **more):
  """An outcome that predicts `truth` [b n e] at what is masked."""
  asked = lambda values: values if values is None else core.take(values, mask.masked)
  zero = jnp.float32(0.0)
  return core.Outcome(zero, {}, mask, asked(truth), asked(targets), more=more)


def hidden(mask):
  """Which tokens are not visible, [b n]."""
  found = np.ones(mask.positions.shape[:2], bool)
  for row, index in zip(found, mask.visible, strict=True):
    row[np.asarray(index)] = False
  return found


def on_scale(panels):
  """Panels that lie in [0, 1] already, as images."""
  return {name: np.clip(np.asarray(panel), 0, 1) for name, panel in panels.items()}


def cut(panel, patch=PATCH):
  """A panel as patches [b n e]."""
  return np.asarray(patches.patchify(panel, patch))


def colours(panel, image, cells=N):
  """The colours in [0, 1] that were painted: one a cell, [b n 3]."""
  low, high = image.min(), image.max()
  side = SIDE // int(cells**0.5)
  found = cut((panel - low) / (high - low), side).reshape(len(panel), cells, side**2, -1)
  np.testing.assert_allclose(found, found[:, :, :1].repeat(side**2, 2), atol=1e-6)
  return found[:, :, 0]
