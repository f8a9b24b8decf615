"""A modality is added by new files: what stands behind it names none."""

import ast
import pathlib

import pytest

from mim_jax import modalities

ROOT = pathlib.Path(__file__).parents[2] / "mim_jax"
BEHIND = ["objectives", "train", "experiment", "checkpoint", "monitor", "report"]
FILES = [f for room in BEHIND for f in sorted((ROOT / room).rglob("*.py"))]
FILES += [
  ROOT / "catalog.py",
  ROOT / "run.py",
  ROOT / "assess.py",
  *sorted((ROOT / "cli").glob("*.py")),
]
WORDS = {"image", "images", "clip", "clips", "text", "texts", "pool", "video"}
# What the first edition wrote is read for ever; help of options, and a command for images alone;
# and a tile of a page has a "text".
ALLOWED = {
  ("cli/convert.py", "image"),
  ("cli/pack.py", "images"),
  ("report/report.py", "images"),
  ("report/report.py", "text"),
  ("train/loop.py", "images"),
}


def named(tree: ast.Module) -> list[tuple[int, str]]:
  """Constants that are a modality's word, but for names of options and docstrings."""
  found = []
  options = {
    id(x)
    for node in ast.walk(tree)
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
    for x in ast.walk(node)
  }
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant) and node.value in WORDS and id(node) not in options:
      found.append((node.lineno, node.value))
  return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_behind_a_modality_names_one(file):
  found = named(ast.parse(file.read_text()))
  assert [x for x in found if (str(file.relative_to(ROOT)), x[1]) not in ALLOWED] == []


def test_a_word_is_found_and_an_option_is_not():
  assert named(ast.parse("x = batch['image']")) == [(1, "image")]
  assert named(ast.parse("made.add_argument('--image', dest='image')")) == []


@pytest.mark.parametrize("name", modalities.names())
def test_a_modality_has_all_that_is_asked_of_it(name):
  module = modalities.named(name)
  assert all(hasattr(module, x) for x in ("ENTRY", "UNIT", "EMBEDDED", "DATASET", "SHAPE", "data"))
  record = getattr(modalities, name.capitalize())()
  asked = ["entry", "unit", "raw", "own", "plain", "paint", "still", "change", "evaluations"]
  assert all(hasattr(record, x) for x in asked)
  assert (record.entry, record.unit) == (module.ENTRY, module.UNIT)
