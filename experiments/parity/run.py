"""How far our numbers are from those of others: python experiments/parity/run.py [TEXT].

Runs tests/parity and I-JEPA's masks, writes the largest deviations to results.jsonl, and the table
made of them to README.md here and to that of the repository. With TEXT only the tests that
`pytest -k TEXT` finds run, and all other records stay; "table" runs none.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from experiments import records  # noqa: E402

FILE = HERE / "results.jsonl"
KEY = ("network", "reference", "what")
TESTS = "tests/parity", "tests/masks/test_rectangles.py"
COLUMNS = ("forward", "loss", "gradient", "init", "mask", "schedule", "steps")


def main() -> None:
  only = sys.argv[1] if len(sys.argv) > 1 else ""
  if only != "table":
    measure(only)
  text = table(records.read(FILE))
  for file in (HERE / "README.md", ROOT / "README.md"):
    records.place(file, "checked", text)


def measure(only: str) -> None:
  """Runs the suite, or some of it, and keeps the largest deviations."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "deviations.json"
    environment = dict(os.environ, CI="1", MIM_JAX_DEVIATIONS=str(file))
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:xdist", *TESTS]
    command += ["--ignore=tests/parity/test_table.py"]  # it holds this file to the last run
    command += ["-k", only] if only else []
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    rows = json.loads(file.read_text())
  new = {tuple(row[name] for name in KEY) for row in rows}
  old = records.read(FILE) if only else []
  kept = [row for row in old if tuple(row[name] for name in KEY) not in new]
  FILE.write_text("")
  for row in kept + [row | records.stamp() for row in rows]:
    records.append(FILE, row)


def table(rows: list[dict]) -> str:
  """Markdown: a line for each network and reference, the largest deviation in each column."""
  lines = {}
  for row in rows:
    line = lines.setdefault((row["network"], row["reference"]), {})
    line[row["what"]] = f"{row['deviation']:.0e}"
  header = ["network", "reference", *COLUMNS]
  body = [[*key, *(line.get(x, "–") for x in COLUMNS)] for key, line in sorted(lines.items())]
  return records.markdown(header, body)


if __name__ == "__main__":
  main()
