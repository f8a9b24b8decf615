"""All methods at one small budget on the embedded digits: same encoder, images and steps.

Run: python experiments/methods_digits/run.py [--methods=mae,simmim] [--seeds=3] [--steps=400]
It adds to results.jsonl what is not there yet (method, seed), and writes the tables.
"""

import argparse
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402
from mim_jax import config, methods, run  # noqa: E402

FILE = HERE / "results.jsonl"
BATCH = 128
# What has to be trained first, and the argument that names it.
BEFORE = {"beit": "codebook", "maskalign": "mae"}
COLUMNS = {"linear_10": "10 labels a class", "linear": "all labels", "knn": "kNN"}


def main():
  """Trains what is missing and writes the tables."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--methods", default=",".join(compared()))
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=400)
  options = parser.parse_args()
  done = {(r["method"], r["seed"]) for r in records.read(FILE)} if FILE.exists() else set()
  for seed in range(options.seeds):
    for method in options.methods.split(","):
      if (method, seed) not in done:
        with tempfile.TemporaryDirectory() as folder:
          records.append(FILE, trained(method, seed, options.steps, pathlib.Path(folder)))
  write()


def compared() -> list[str]:
  """MAE and the others; the codebook is a stage, not a method."""
  return [name for name in config.names() if name != "codebook"]


def trained(method: str, seed: int, steps: int, folder: pathlib.Path) -> dict:
  """The record of one run, after the run that it builds on."""
  arg = "dataset=digits"
  if method in BEFORE:
    first = prepared(BEFORE[method], "dataset=digits", seed, steps)
    run.run(first, folder / "first")
    arg += f",teacher={folder / 'first'}"
  facts = run.run(prepared(method, arg, seed, steps), folder / "run")
  record = records.of_run(facts, run.read_results(folder / "run"), method=method)
  record["command"] = "python experiments/methods_digits/run.py"
  record["step_seconds"] = BATCH / record["images_per_second"]
  return record


def prepared(method: str, arg: str, seed: int, steps: int):
  """The config at the common budget."""
  made = config.get_config(method, arg)
  made.seed = seed
  made.train.update(dict(steps=steps, epochs=None, batch_size=BATCH, log_every=20))
  return made


def table(found: list[dict]) -> str:
  """Accuracy on held-out digits in per cent, mean ± deviation over seeds, best first."""
  by_method: dict[str, list[dict]] = {}
  for record in found:
    by_method.setdefault(record["method"], []).append(record)

  def scores(records_of, column, who="pretrained"):
    return [r["scores"][column][who] for r in records_of]

  order = sorted(by_method, key=lambda m: -sum(scores(by_method[m], "linear_10")))
  rows = []
  for method in order:
    some = by_method[method]
    cells = [records.spread(scores(some, column)) for column in COLUMNS]
    random = records.spread(scores(some, "linear_10", "random"))
    seconds = sum(r["seconds"]["train"] for r in some) / len(some)
    rows.append(
      [method, *cells, random, f"{seconds:.0f}", f"{some[0]['flops_per_image'] / 1e6:.1f}"]
    )
  header = [
    "method",
    *COLUMNS.values(),
    "its encoder untrained, 10 labels",
    "seconds",
    "MFLOP an image",
  ]
  return records.markdown(header, rows)


def write():
  """The tables of this folder's README and of the project's."""
  records.place(HERE / "README.md", "methods", table(records.read(FILE)))
  records.place(HERE.parents[1] / "README.md", "methods", methods.markdown(methods.rows()))


if __name__ == "__main__":
  main()
