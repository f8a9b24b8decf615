"""The house numbers, and that nobody's oddness is a branch for anybody else."""

import ast
import pathlib
import re

import pytest

from mim_jax import catalog
from mim_jax import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(f for room in ("mim_jax", "configs") for f in (ROOT / room).rglob("*.py"))


def nodes(kind):
  """(file, node) of every node of a kind in the code."""
  for file in FILES:
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, kind):
        yield file.relative_to(ROOT), node


@pytest.mark.parametrize("method", config_lib.names())
def test_an_objective_is_at_most_30_lines(method):
  assert catalog.code_lines(catalog.config_of(method).objective.part) <= 30


def test_nothing_is_compared_with_a_method_s_name():
  names = set(config_lib.names())
  found = [
    f"{file}:{node.lineno} {value.value}"
    for file, node in nodes((ast.Compare, ast.match_case))
    for value in ast.walk(node)
    if isinstance(value, ast.Constant) and value.value in names
  ]
  # The table of methods puts the one that the others are measured by first.
  assert [line for line in found if not line.startswith("mim_jax/catalog.py")] == []


def test_files_are_under_300_lines_and_functions_under_40():
  long = [str(f) for f in FILES if len(f.read_text().splitlines()) > 300]
  long += [
    f"{file}:{node.name}"
    for file, node in nodes(ast.FunctionDef)
    if catalog.lines_of(ast.unparse(node)) > 40
  ]
  assert long == []


def test_workflows_may_only_read_and_pin_what_they_use():
  for file in (ROOT / ".github" / "workflows").glob("*.yml"):
    lines = [line.strip() for line in file.read_text().splitlines()]
    assert "permissions: {}" in lines
    granted = [line for line in lines if re.fullmatch(r"[a-z-]+: (read|write)(-all)?", line)]
    assert set(granted) <= {"contents: read"}
    used = [line.removeprefix("- ") for line in lines if "uses:" in line]
    assert used and all(re.match(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line) for line in used)
    assert lines.count("persist-credentials: false") == sum("checkout@" in line for line in used)
