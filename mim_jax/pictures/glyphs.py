"""Painters of texts: characters on coloured cells. Letters: b batch, n ids, r rows, h w pixels.

Characters are looked up in an atlas, drawn once by Pillow, so that a picture is made of ids within
a compiled program.
"""

import functools
import pathlib

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from mim_jax import core
from mim_jax.ops import gather
from mim_jax.pictures.grid import Pictures
from mim_jax.pictures.heat import drawn
from mim_jax.pictures.values import first_copies

CELL = 13  # pixels of a character's side: square, as patches of images are
COLUMNS = 32  # characters of a line
BLANK = 256  # the place in the atlas of all that is no byte
DOT = 0xB7  # stands for control and other bytes than ASCII
PLAIN, HIDDEN, RIGHT, WRONG, OTHER, KEPT = range(6)
# Backgrounds, as red, green, blue; characters are black.
COLOURS = (
  (1.0, 1.0, 1.0),
  (0.35, 0.37, 0.42),
  (0.62, 0.88, 0.62),
  (0.98, 0.65, 0.62),
  (1.0, 0.83, 0.45),
  (0.66, 0.82, 1.0),
)
NOTE = (
  "Dark cells were hidden from the network; in 'masked', cells on yellow were given as other "
  "bytes, drawn at random, and cells on blue as they are, and the network has to tell both from "
  "the rest. In 'predicted', the likeliest byte of each of them is shown, on green where it is the "
  "true one, on red where it is not, however unsure; all else is pasted from the original. A dot "
  "stands for the end of a line and for bytes that are no ASCII characters."
)


def text(batch, outcome: core.Outcome, *, entry: str) -> Pictures:
  """Draws texts [b n] of ids: panels "original", "masked" and "predicted", [b h w 3] in [0, 1].

  Where the outcome has "inputs", "masked" shows what was given in place of masked ids, and "kept"
  which of them were left as they are.
  """
  ids, mask = batch[entry], drawn(outcome)
  given, kept = (outcome.more.get(name) for name in ("inputs", "kept"))
  copied = mask, outcome.predictions, given, kept
  mask, predictions, given, kept = first_copies(copied, mask.copies)
  n = ids.shape[1]
  # Entries that only fill up the draw point behind the end, where a scatter drops them.
  index = jnp.where(mask.weight > 0, mask.masked, n).reshape(len(ids), -1)
  asked = gather.member(index, n + 1)[:, :n]
  guesses = jnp.argmax(predictions, -1).reshape(len(ids), -1, 1).astype(jnp.float32)
  guess = gather.place(guesses, index, jnp.zeros((*ids.shape, 1), jnp.float32))[..., 0]
  guess = guess.astype(ids.dtype)
  return Pictures(
    {
      "original": characters(ids),
      "masked": characters(*_shown(ids, asked, given, kept)),
      "predicted": characters(
        jnp.where(asked, guess, ids),
        jnp.where(asked, jnp.where(guess == ids, RIGHT, WRONG), PLAIN),
      ),
    },
    NOTE,
  )


def _shown(ids: Array, asked: Array, given: Array | None, kept: Array | None):
  """Says what was given of masked ids and on which colour: ids and codes, [b n] each."""
  if given is None:
    return jnp.where(asked, BLANK, ids), jnp.where(asked, HIDDEN, PLAIN)
  how = jnp.where(given >= BLANK, HIDDEN, OTHER)
  how = how if kept is None else jnp.where(kept, KEPT, how)
  return given, jnp.where(asked, how, PLAIN)


def characters(
  ids: Int[Array, "b n"], codes: Int[Array, "b n"] | None = None
) -> Float[Array, "b h w 3"]:
  """Draws ids as characters, COLUMNS in a line, codes [b n] as the colours behind them.

  Negative ids, and those of no byte, have no character.
  """
  (b, n), columns = ids.shape, min(COLUMNS, ids.shape[1])
  rows = -(-n // columns)
  codes = jnp.zeros(ids.shape, jnp.int32) if codes is None else codes
  wide = ((0, 0), (0, rows * columns - n))
  glyph = jnp.where((ids >= 0) & (ids < BLANK), ids, BLANK)
  glyph, codes = jnp.pad(glyph, wide, constant_values=BLANK), jnp.pad(codes, wide)
  ink = jnp.asarray(atlas())[glyph]  # [b r*columns h w]
  ground = jnp.asarray(COLOURS, jnp.float32)[codes]  # [b r*columns 3]
  cells = ground[:, :, None, None] * (1.0 - ink[..., None])
  cells = cells.reshape(b, rows, columns, CELL, CELL, 3)
  return jnp.moveaxis(cells, 2, 3).reshape(b, rows * CELL, columns * CELL, 3)


@functools.cache
def atlas() -> np.ndarray:
  """Draws all bytes once, ink in [0, 1]: float32 [257 h w], the last without any."""
  import matplotlib  # for its font, which is everywhere the same
  from PIL import Image, ImageDraw, ImageFont

  folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
  font = ImageFont.truetype(str(folder / "DejaVuSansMono.ttf"), CELL - 1)
  found = np.zeros((BLANK + 1, CELL, CELL), np.float32)
  for byte in range(BLANK):
    character = chr(byte if 0x20 <= byte < 0x7F else DOT)
    cell = Image.new("L", (CELL, CELL))
    pen = ImageDraw.Draw(cell)
    pen.text((CELL / 2, CELL * 0.78), character, fill=255, font=font, anchor="ms")
    found[byte] = np.asarray(cell, np.float32) / 255
  return found
