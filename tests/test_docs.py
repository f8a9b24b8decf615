"""The site keeps its word: it builds without a warning, its samples run, every name is in it."""

import ast
import pathlib
import re
import subprocess
import sys
import types
import zlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs.generate import api, drawing, flow, masks  # noqa: E402
from mim_jax import core  # noqa: E402

PAGES = sorted((ROOT / "docs").glob("**/*.md"))
PAGES = [page for page in PAGES if "generated" not in page.parts]
SAMPLES = [page for page in PAGES if "```python" in page.read_text()]


def public_names():
  """Dotted names of all public functions and classes of the package, and whether they say what."""
  for file in sorted((ROOT / "mim_jax").rglob("*.py")):
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for node in ast.parse(file.read_text()).body:
      if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
        yield f"{module}.{node.name}", bool(ast.get_docstring(node))


def test_every_public_name_says_what_it_is():
  assert [name for name, told in public_names() if not told] == []


@pytest.mark.parametrize("page", SAMPLES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
  """From top to bottom; a sample that begins with the name of a file is one."""
  monkeypatch.syspath_prepend(tmp_path)
  names = {}
  for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
    if file := re.match(r"# (\w+\.py)\n", code):
      (tmp_path / file[1]).write_text(code)
    else:
      exec(compile(code, str(page), "exec"), names)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_name(tmp_path):
  command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
  command += ["-d", str(tmp_path / "trees"), str(ROOT / "docs"), str(tmp_path / "site")]
  done = subprocess.run(command, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stdout + done.stderr
  inventory = (tmp_path / "site" / "objects.inv").read_bytes().split(b"\n", 4)[4]
  listed = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
  assert [name for name, _ in public_names() if name not in listed] == []


def test_arrows_are_where_numbers_go():
  """Those of MAE, by hand from objectives.predict_masked."""
  found = flow.of("mae")
  role = [node.role for node in found.nodes]
  assert {(role[a], role[b]) for a, b in found.arrows} == {
    ("batch", "tokenizer"),
    ("batch", "target"),
    ("tokenizer", "mask"),  # a random one asks for the places only
    ("tokenizer", "encoder"),
    ("mask", "encoder"),
    ("encoder", "predictor"),
    ("mask", "predictor"),
    ("predictor", "loss"),
    ("target", "loss"),
    ("mask", "loss"),  # which targets are taken
    ("loss", "objective"),
    ("mask", "objective"),  # weights
  }
  gives = {node.role: node.gives for node in found.nodes}
  assert gives["mask"] == "49 visible, 147 masked"
  assert gives["encoder"] == "1 + 49 latents of 768"
  assert all(node.role in drawing.svg(found, "") for node in found.nodes)


def test_a_mask_is_drawn_as_it_is():
  """Seen, hidden, and two groups of targets, of which a padded entry is none."""
  mask = core.Mask(
    visible=np.array([[0, 0]]),
    masked=np.array([[[1, 2], [3, 4]]]),
    weight=np.array([[[1.0, 1.0], [1.0, 0.0]]]),
    positions=np.zeros((1, 5, 1)),
    valid=np.array([[True, False]]),
  )
  assert masks.state(mask, 0).tolist() == [0, 2, 2, 3, 1]


def test_a_docstring_means_in_the_reference_what_it_says():
  lines = ["The mean * of |x_.", "", "a, b: [n e], `c` or 2*d", "  and on", "Errors: none."]
  api.docstring(None, "function", "f", types.SimpleNamespace(), None, lines)
  assert lines[0] == r"The mean \* of \|x\_."
  assert lines[2] == r"- **a, b**: [n e], ``c`` or 2\*d and on Errors: none."
