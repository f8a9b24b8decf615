"""The notebooks: what they hold, and that they run from top to bottom."""

import pathlib

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "colabs").glob("*.ipynb"))
NAMES = {
  "follow_a_batch",
  "pretrain_and_probe",
  "published_weights",
  "see_the_masks",
  "write_a_method",
}


def read(file):
  return nbformat.read(file, as_version=4)


def test_all_are_here():
  assert {file.stem for file in FILES} >= NAMES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_explains_first_and_holds_no_results(file):
  notebook = read(file)
  nbformat.validate(notebook)
  assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
  first, setup, *rest = notebook.cells
  assert first.cell_type == "markdown" and first.source.startswith("# ")
  link = f"colab.research.google.com/github/mim-jax/mim_jax/blob/main/colabs/{file.name}"
  assert link in first.source and "```" in first.source  # a picture before any code
  assert rest[0].cell_type == "markdown"
  for cell in notebook.cells:
    if cell.cell_type == "code":
      assert cell.outputs == [] and cell.execution_count is None and not cell.metadata
      assert len(cell.source.splitlines()) <= 40
  shared = read(FILES[0]).cells[1].source
  assert setup.source == shared and "%pip install" in shared and "clone" in shared


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_runs_from_top_to_bottom(file, notebook_runs, monkeypatch):
  monkeypatch.setenv("MIM_JAX_STEPS", "20")
  before = {path.name for path in (ROOT / "colabs").iterdir()}
  notebook = notebook_runs(read(file), ROOT / "colabs")
  made = [o for cell in notebook.cells for o in cell.get("outputs", [])]
  assert sum("image/png" in o.get("data", {}) for o in made) >= 2
  assert [o.text for o in made if o.output_type == "stream" and "Warning" in o.text] == []
  assert {path.name for path in (ROOT / "colabs").iterdir()} == before  # writes elsewhere


def test_every_mask_has_settings_in_a_config():
  """Or see_the_masks would draw it at a ratio that nobody uses."""
  import inspect

  from mim_jax import catalog, masks, rooms
  from mim_jax import config as config_lib

  used = set().union(*(catalog.named(catalog.config_of(name)) for name in config_lib.names()))
  found = {rooms.public_name(f) for _, f in inspect.getmembers(masks, inspect.isfunction)}
  assert found <= used
