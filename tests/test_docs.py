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

from docs.generate import api, configuration, drawing, flow, gallery, masks  # noqa: E402
from mim_jax import catalog, core, rooms  # noqa: E402
from mim_jax import config as config_lib  # noqa: E402

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_takes_from_other_files_is_there(page):
  """Marks of what is included stand in those files; only pages that are made may be missing yet."""
  for block in re.findall(r"^```{include} (.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
    name, *options = block.strip().splitlines()
    file = page.parent / name
    if "generated" in file.parts:
      continue
    for option in options:
      key, _, mark = option[1:].partition(": ")
      if key in ("start-after", "end-before"):
        assert ast.literal_eval(mark) in file.read_text(), f"{name}: {mark}"


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


TOYS = """
from mim_jax import core, errors, masks

def broken(key, tokens, scores=None, progress=None, *, ratio: float = 0.5) -> core.Mask:
  raise ValueError("a line\\nthat nobody *expected*")

def for_two(key, tokens, scores=None, progress=None, *, ratio: float = 0.5) -> core.Mask:
  if tokens.positions.shape[0] != 2:
    raise errors.InputError("this mask takes two samples.")
  return masks.random(key, tokens, ratio=ratio)
"""


@pytest.mark.parametrize(
  ("toy", "warned", "drawn"),
  [("broken", ["data flow", "road"], False), ("for_two", ["mask"], True)],
)
def test_an_unusual_mask_costs_one_page_its_picture(toy, warned, drawn, tmp_path, monkeypatch):
  """And a warning that can be suppressed by its type; all other pages are whole."""
  (tmp_path / "my_toys.py").write_text(TOYS)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delitem(sys.modules, "my_toys", raising=False)
  import my_toys

  odd = catalog.config_of("mae").copy_and_resolve_references()
  odd.allow_modules = ("my_toys",)
  odd.objective.mask = config_lib.part(getattr(my_toys, toy))
  known, said = {"mae": odd, "simmim": catalog.config_of("simmim")}, []
  get = config_lib.get_config

  def allowing(name, arg=""):
    config = get(name, arg)
    config.allow_modules = ("my_toys",)
    return config

  monkeypatch.setattr(config_lib, "names", lambda: list(known))
  monkeypatch.setattr(catalog, "config_of", known.get)
  monkeypatch.setattr(config_lib, "get_config", allowing)
  monkeypatch.setattr(flow, "of", flow.of.__wrapped__)
  monkeypatch.setattr(gallery.LOG, "warning", lambda *a, **k: said.append((a, k)))
  made = gallery.pages()
  assert [a[2] for a, _ in said] == warned
  assert all(a[1] == "mae" and k["type"] == "mim_jax" for a, k in said)
  assert gallery.MISSING in made["methods/mae.md"]
  assert ('<div class="flow">' in made["methods/mae.md"]) == drawn
  assert "methods/masks/mae.png" not in made
  assert "methods/masks/simmim.png" in made
  assert gallery.MISSING not in made["methods/simmim.md"]
  assert (gallery.MISSING in made["road.md"]) == (not drawn)
  assert "[MAE](./mae.md)" in made["methods/index.md"]


def test_masks_that_follow_scores_get_some_and_it_is_said():
  assert masks.STAND_IN in masks.picture("hpm", (14, 14))[1]
  assert masks.STAND_IN not in masks.picture("mae", (14, 14))[1]


def test_tokens_in_one_line_are_drawn_in_several():
  image = masks.in_lines(np.array([0, 1, 2] * 6))  # 18 tokens
  assert image.shape == (28, 224 + masks.GAP, 4)
  cells = image[7::14, 7:224:14]
  np.testing.assert_array_equal(cells[0, 0, :3], masks.PAPER)
  np.testing.assert_array_equal(cells[0, 1, :3], masks.VEIL)
  np.testing.assert_array_equal(cells[1, 0, :3], masks.VEIL)  # the 17th
  assert (cells[1, :2, 3] == 255).all() and (cells[1, 2:, 3] == 0).all()


def test_methods_are_listed_by_the_folder_of_their_config():
  rows = [catalog.row(name) for name in ("mae", "videomae")]
  text = gallery.index(rows, {})
  image, video = text.index("## image"), text.index("## video")
  assert image < text.index("[MAE](./mae.md)") < video < text.index("[VideoMAE](./videomae.md)")


def test_the_settings_of_every_part_that_a_config_names_are_listed():
  text = configuration.pages()["configuration.md"]
  named = set().union(*(catalog.named(catalog.config_of(name)) for name in config_lib.names()))
  assert [name for name in sorted(named) if f"(`{name}`)" not in text] == []
  for name in sorted(named):
    thing = configuration.thing_of(name)
    assert rooms.public_name(thing) == name
    assert f"<{thing.__module__}.{thing.__qualname__}>" in configuration.reference(name)


def test_arguments_of_one_config_are_those_that_it_asks_for():
  assert configuration.own_of("mae") == {}
  assert configuration.own_of("beit") == {"teacher": ""}
  assert "frames" in configuration.own_of("videomae")


def test_a_docstring_means_in_the_reference_what_it_says():
  lines = ["The mean * of |x_.", "", "a, b: [n e], `c` or 2*d", "  and on", "Errors: none."]
  api.docstring(None, "function", "f", types.SimpleNamespace(), None, lines)
  assert lines[0] == r"The mean \* of \|x\_."
  assert lines[2] == r"- **a, b**: [n e], ``c`` or 2\*d and on Errors: none."
