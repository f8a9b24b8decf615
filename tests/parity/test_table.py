"""The table of what is checked is that of the records, and the records are of what the suite checks."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from experiments import records  # noqa: E402
from experiments.parity import run  # noqa: E402

ROWS = records.read(run.FILE)


def test_the_tables_are_those_of_the_records():
  for file in ("README.md", "experiments/parity/README.md"):
    text = (ROOT / file).read_text().split("<!-- checked -->\n")[1]
    assert text.split("\n<!-- /checked -->")[0] == run.table(ROWS), file


def test_every_case_of_the_suite_has_its_row_and_no_row_is_of_another_time():
  kept = {(row["network"], row["reference"]) for row in ROWS}
  expected = {(name, "transformers") for name in cases("models.py")}
  for file in ("test_published_golden.py", "test_starts_and_masks.py"):
    for name in cases(file):
      timm = name in ("vit", "vit, clip", "vit, registers", "swin", "resnet", "convnext")
      expected.add((name, "timm" if timm else "the authors' code"))
  by_authors = "ibot, objective", "mae, fine-tuning", "mae, linear probe", "lars"
  expected |= {(name, "the authors' code") for name in by_authors}
  expected.add(("ijepa", "the paper"))  # masks
  assert kept == expected


def test_no_record_is_beyond_what_the_tests_allow():
  for row in ROWS:
    if row["what"] in ("forward", "loss", "gradient", "steps"):
      assert row["deviation"] < 1e-4, row
    if row["what"] == "schedule":
      assert row["deviation"] < 1e-6, row


def cases(file):
  """The names in CASES of a test file, read without importing it (it may need torch)."""
  text = (pathlib.Path(__file__).parent / file).read_text().split("CASES = {")[1]
  return re.findall(r'^  "([^"]+)":', text.split("\n}\n")[0], re.MULTILINE)
