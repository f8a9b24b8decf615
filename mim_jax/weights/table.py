"""Mapping tables between our names and a layout's, and the one engine that reads them both ways.

A row is "ours | theirs | rule". `#` is the number of a block, `{a,b}` several arrays of theirs
beside each other in one of ours, `-` in such a list one that they do not have (zeros), `*` all
blocks' arrays stacked in one of ours, and `[a]`, `[b]`, ... behind a name the pieces of one of
theirs, in this order, along its last axis but one. `#-1` and `#+1` count differently. Rules stand
in `reshaping.py`; without one an array is copied.
"""

import dataclasses
import re

import numpy as np

from mim_jax import errors
from mim_jax.weights import reshaping

_PIECE = re.compile(r"\[(\w)\]$")


@dataclasses.dataclass(frozen=True)
class Pair:
  """Pairs one of our arrays with theirs that it is made of.

  Attributes:
    ours: its name and shape.
    theirs: names; None for zeros that they do not have.
    rule: what reshapes each.
    stacked: whether theirs are stacked along our first axis, rather than joined along the last.
    piece: which piece of theirs it is; "" for the whole.
  """

  ours: str
  shape: tuple[int, ...]
  theirs: tuple[str | None, ...]
  rule: reshaping.Rule
  stacked: bool
  piece: str

  def shapes(self) -> list[tuple[int, ...]]:
    """Computes the shapes that theirs must have."""
    return [x.shape for x in self.back(np.zeros(self.shape, np.float32)).values()]

  def make(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Makes our array from theirs."""
    known = next(arrays[name] for name in self.theirs if name)
    found = [self.rule.ours(arrays[name] if name else np.zeros_like(known)) for name in self.theirs]
    made = np.stack(found) if self.stacked else np.concatenate(found, -1)
    return np.ascontiguousarray(made).reshape(self.shape)

  def back(self, array: np.ndarray) -> dict[str, np.ndarray]:
    """Makes theirs from our array."""
    parts = list(array) if self.stacked else np.split(array, len(self.theirs), -1)
    pairs = zip(self.theirs, parts, strict=True)
    return {name: np.ascontiguousarray(self.rule.theirs(x)) for name, x in pairs if name}


def pairs(table: str, shapes: dict[str, tuple[int, ...]], known: dict[str, reshaping.Rule]):
  """Makes the Pairs of our arrays, {name: shape}.

  InputError for one that no row of the table holds.
  """
  rows = parse(table)
  found = []
  for name, shape in shapes.items():
    fit = next(((m, r) for r in rows if (m := re.fullmatch(_pattern(r[0]), name))), None)
    if fit is None:
      allowed = [row[0] for row in rows]
      raise errors.InputError(
        f"weights: this layout has no place for our {name!r} {shape}"
        f"{errors.nearest(re.sub(r'_[0-9]+', '_#', name), allowed)} Choose another --format."
      )
    match, (_, theirs, rule) = fit
    piece = _PIECE.search(theirs)
    numbered = _numbered(theirs, [int(x) for x in match.groups()])
    names = _names(_PIECE.sub("", numbered), shape[0] if shape else 0)
    found.append(
      Pair(name, shape, names, known[rule], "*" in theirs, piece.group(1) if piece else "")
    )
  return found


def parse(table: str) -> list[tuple[str, str, str]]:
  """Parses a table's text to [(ours, theirs, rule), ...]."""
  lines = [line.split("|") for line in table.splitlines() if "|" in line]
  return [(a.strip(), b.strip(), c[0].strip() if c else "") for a, b, *c in lines]


def _pattern(name: str) -> str:
  """Makes a regular expression for a name with `#` in it; a group a number."""
  pieces = re.split(r"#(?:[+-]1)?", name)
  return r"(\d+)".join(re.escape(piece) for piece in pieces)


def _numbered(theirs: str, numbers: list[int]) -> str:
  """Puts numbers in place of `#`, one after the other; `#-1` is one less."""
  left = iter(numbers)

  def number(match):
    return str(next(left) + int(match.group(1) or 0))

  return re.sub(r"#([+-]1)?", number, theirs)


def _names(theirs: str, count: int) -> tuple[str | None, ...]:
  """Expands the names in "a.{b,c}.d", or of all `count` blocks in "a.*.d"."""
  if "*" in theirs:
    return tuple(theirs.replace("*", str(i)) for i in range(count))
  several = re.search(r"\{(.*?)\}", theirs)
  if not several:
    return (theirs,)
  middle = several.group(1).split(",")
  return tuple(
    None if x == "-" else theirs[: several.start()] + x + theirs[several.end() :] for x in middle
  )


def look(table: str, theirs: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
  """Finds which of our names a file holds, and the shape of (the first of) their sources."""
  found: dict[str, tuple[int, ...]] = {}
  for ours, name, _ in parse(table):
    wanted = [x for x in _names(_PIECE.sub("", name), 1) if x]
    offsets = [int(x or 0) for x in re.findall(r"#([+-]1)?", wanted[0])]
    for key, shape in theirs.items():
      match = re.fullmatch(_pattern(wanted[0]), key)
      if match:
        numbers = [int(x) - o for x, o in zip(match.groups(), offsets, strict=True)]
        if all(_numbered(x, numbers) in theirs for x in wanted):
          found.setdefault(_filled(ours, numbers), shape)
  return found


def _filled(ours: str, numbers: list[int]) -> str:
  """Puts numbers in place of `#` in our name; those of blocks have two digits."""
  left = iter(numbers)
  return re.sub(
    r"(block_)?#", lambda m: f"block_{next(left):02d}" if m.group(1) else str(next(left)), ours
  )


def name_of(table: str, ours: str) -> str | None:
  """Finds their name in the row of our `ours`, without its piece.

  None where there is no such row.
  """
  return next((_PIECE.sub("", theirs) for name, theirs, _ in parse(table) if name == ours), None)


def to_ours(found: list[Pair], theirs: dict[str, np.ndarray], left: tuple[str, ...]) -> dict:
  """Makes our arrays {name: array} of theirs; `left` are patterns of names that may stay unused.

  InputError that names the first missing, surplus or wrongly shaped array, and the nearest one.
  """
  arrays = _cut(found, theirs)
  wanted = {n: s for p in found for n, s in zip(filter(None, p.theirs), p.shapes(), strict=True)}
  missing = [name for pair in found for name in pair.theirs if name and name not in theirs]
  surplus = unused(found, theirs, left)
  if missing:
    owner = next(pair.ours for pair in found if missing[0] in pair.theirs)
    raise errors.InputError(
      f"weights: {len(missing)} arrays are missing, the first is {missing[0]!r} for our {owner!r}"
      f"{errors.nearest(missing[0], surplus or theirs)}"
    )
  if surplus:
    raise errors.InputError(
      f"weights: {len(surplus)} arrays have no place here, the first is {surplus[0]!r} "
      f"{theirs[surplus[0]].shape}{errors.nearest(surplus[0], wanted)} Nothing is dropped "
      "silently: say --leave=REGEX to leave them out."
    )
  made = {}
  for pair in found:
    for name, shape in zip(filter(None, pair.theirs), pair.shapes(), strict=True):
      if arrays[name + pair.piece].shape != shape:
        raise errors.InputError(
          f"weights: {name!r} is {arrays[name + pair.piece].shape}, but {shape} is needed for our "
          f"{pair.ours!r} {pair.shape}."
        )
    own = {name: arrays[name + pair.piece] for name in pair.theirs if name}
    made[pair.ours] = pair.make(own).astype(np.float32)
  return made


def unused(found: list[Pair], theirs: dict, left: tuple[str, ...]) -> list[str]:
  """Lists their names that no pair uses and no pattern of `left` covers."""
  used = {name for pair in found for name in pair.theirs}
  return [k for k in theirs if k not in used and not any(re.fullmatch(x, k) for x in left)]


def _cut(found: list[Pair], theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Cuts their arrays by name and piece; pieces are as long as ours want, the last has the rest."""
  arrays = dict(theirs)
  for name in {n for p in found if p.piece for n in p.theirs if n in theirs}:
    pieces = sorted((p for p in found if name in p.theirs), key=lambda p: p.piece)
    start = 0
    for pair in pieces:
      length = pair.shapes()[0][-2]
      stop = None if pair is pieces[-1] else start + length
      arrays[name + pair.piece] = theirs[name][..., start:stop, :]
      start += length
  return arrays


def to_theirs(found: list[Pair], ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Makes their arrays {name: array} of ours, pieces joined."""
  made: dict[str, np.ndarray] = {}
  for pair in sorted(found, key=lambda p: p.piece):
    for name, x in pair.back(np.asarray(ours[pair.ours], np.float32)).items():
      made[name] = np.concatenate([made[name], x], -2) if name in made else x
  return made
