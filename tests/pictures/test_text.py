"""Texts as pictures: which character is on which colour, and that padding is blank."""

import jax.numpy as jnp
import numpy as np
import pytest

from mim_jax import core, pictures
from mim_jax.errors import InputError
from mim_jax.pictures import text as painter  # the function
from mim_jax.pictures.text import (
  CELL,
  COLOURS,
  HIDDEN,
  KEPT,
  OTHER,
  PLAIN,
  RIGHT,
  WRONG,
  atlas,
  characters,
)

N = 40  # two lines, the second not full


def world():
  ids = np.full((1, N), ord("a"), np.int32)
  ids[0, 35:] = -1
  masked = jnp.asarray([[[3, 4, 5, 33, 0]]])
  weight = jnp.asarray([[[1.0, 1.0, 1.0, 1.0, 0.0]]])  # the last only fills up
  logits = np.zeros((1, 1, 5, 257), np.float32)
  logits[0, 0, np.arange(5), [ord("a"), ord("z"), ord("a"), 256, ord("q")]] = 1.0
  given = ids.copy()
  given[0, [3, 33]], given[0, 4] = 256, ord("x")
  kept = np.zeros((1, N), bool)
  kept[0, 5] = True
  mask = core.Mask(jnp.asarray([[0, 1]]), masked, weight, jnp.zeros((1, N, 1)), grid=(N,))
  outcome = core.Outcome(
    jnp.zeros([]),
    mask=mask,
    predictions=jnp.asarray(logits),
    more=dict(inputs=jnp.asarray(given), kept=jnp.asarray(kept)),
  )
  return {"text": jnp.asarray(ids)}, outcome


def cell(picture, place):
  row, column = divmod(place, 32)
  return np.asarray(picture)[0, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]


def is_drawn(picture, place, character, code):
  ink = atlas()[256 if character is None else ord(character)][..., None]
  wanted = np.asarray(COLOURS[code], np.float32)[None, None] * (1 - ink)
  np.testing.assert_allclose(cell(picture, place), wanted, atol=1e-6)


def test_panels():
  batch, outcome = world()
  found = painter(batch, outcome, entry="text").panels
  assert list(found) == ["original", "masked", "predicted"]
  assert all(x.shape == (1, 2 * CELL, 32 * CELL, 3) for x in found.values())
  for name in found:
    is_drawn(found[name], 0, "a", PLAIN)  # also where the mask only fills up
    is_drawn(found[name], 36, None, PLAIN)  # padding
  is_drawn(found["original"], 4, "a", PLAIN)
  for place, character, code in ((3, None, HIDDEN), (4, "x", OTHER), (5, "a", KEPT)):
    is_drawn(found["masked"], place, character, code)
  for place, character, code in ((3, "a", RIGHT), (4, "z", WRONG), (33, None, WRONG)):
    is_drawn(found["predicted"], place, character, code)


def test_without_what_was_given_all_that_was_asked_for_is_hidden():
  batch, outcome = world()
  outcome = core.Outcome(outcome.loss, {}, outcome.mask, outcome.predictions)
  found = painter(batch, outcome, entry="text").panels["masked"]
  for place in (3, 4, 5, 33):
    is_drawn(found, place, None, HIDDEN)


def test_control_and_other_bytes_are_dots():
  dot, space = atlas()[10], atlas()[32]
  assert dot.sum() > 0 and space.sum() == 0
  for byte in (0, 7, 127, 128, 255):
    np.testing.assert_array_equal(atlas()[byte], dot)
  letters = {atlas()[i].tobytes() for i in range(33, 127)}
  assert len(letters) == 94  # all unlike each other


def test_a_short_text_is_one_line():
  assert characters(jnp.zeros((2, 5), jnp.int32)).shape == (2, CELL, 5 * CELL, 3)


def test_nothing_to_show():
  with pytest.raises(InputError, match="shows a mask"):
    pictures.text({"text": jnp.zeros((1, 4), jnp.int32)}, core.Outcome(jnp.zeros([])), entry="text")
