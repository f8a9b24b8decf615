"""What does MAE learn from 1,438 handwritten digits in under two minutes on two cores?

Run: python experiments/digits/run.py    (trains three seeds, writes results.jsonl and the tables)
"""

import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402
from mim_jax import config, run  # noqa: E402

FILE = HERE / "results.jsonl"
COLUMNS = {"knn": "kNN", "linear": "linear, all labels", "linear_10": "linear, 10 labels a class"}
ROWS = {
  "pretrained": "MAE, pre-trained",
  "random": "the same encoder, random",
  "pixels": "raw pixels",
}


def main():
  """Trains seeds 0, 1, 2 and writes what came out."""
  FILE.unlink(missing_ok=True)
  for seed in range(3):
    made = config.get_config("mae", "dataset=embedded")
    made.seed = seed
    with tempfile.TemporaryDirectory() as folder:
      facts = run.run(made, folder)
      records.append(FILE, records.of_run(facts, run.read_results(pathlib.Path(folder))))
  for file in (HERE / "README.md", HERE.parents[1] / "README.md"):
    records.place(file, "digits", table(records.read(FILE)))


def table(found: list[dict]) -> str:
  """Accuracy on held-out digits, mean ± deviation over pre-training seeds."""
  rows = [
    [name, *(records.spread([r["scores"][column][who] for r in found]) for column in COLUMNS)]
    for who, name in ROWS.items()
  ]
  return records.markdown(["accuracy in %", *COLUMNS.values()], rows)


if __name__ == "__main__":
  main()
