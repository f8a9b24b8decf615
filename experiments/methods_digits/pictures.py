"""What each method predicts of held-out digits, or sees in them: one picture a method.

Run: python experiments/methods_digits/pictures.py [--methods=mae,simmim] [--steps=600]
Trains each method at the budget of run.py, but for the steps, writes docs/pictures/METHOD.png, and
adds to pictures_shown/METHOD.jsonl what they show.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import comparison, records  # noqa: E402
from experiments.methods_digits.run import ARGUMENT, BATCH  # noqa: E402
from mim_jax import assess, config, experiment, run  # noqa: E402
from mim_jax.train import loop  # noqa: E402

FILE = HERE / "pictures_shown"  # a file a method
FOLDER = HERE.parents[1] / "docs" / "pictures"


def main():
  """Trains and draws what is asked for."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--methods", default=",".join(config.names()))
  parser.add_argument("--steps", type=int, default=600)
  options = parser.parse_args()
  budget = comparison.Budget(ARGUMENT, BATCH, dict(steps=options.steps))
  FOLDER.mkdir(exist_ok=True)
  for method in options.methods.split(","):
    with tempfile.TemporaryDirectory() as folder:
      record = drawn(method, budget, pathlib.Path(folder))
      record["command"] = "python experiments/methods_digits/pictures.py"
      records.append(FILE, record | dict(steps=options.steps))


def drawn(method: str, budget: comparison.Budget, folder: pathlib.Path) -> dict:
  """Trains a method, copies its picture, says what it shows."""
  more = ""
  if method in comparison.BEFORE:
    run.run(budget.config(comparison.BEFORE[method], 0), folder / "first")
    more = f",teacher={folder / 'first'}"
  built = experiment.build(budget.config(method, 0, more))
  path, results = folder / "run", {}
  state, _ = loop.train(built.trainable, path)
  assess.draw_reconstructions(built, state, path, results)
  kind = "reconstructions" if "reconstruction" in results else "features"
  if kind == "features":
    assess.summarise(built, state, path, results)
  told = results["reconstruction" if kind == "reconstructions" else "features"]
  shutil.copy(path / kind / "grid.png", FOLDER / f"{method}.png")
  return dict(**records.stamp(), method=method, kind=kind, **told)


if __name__ == "__main__":
  main()
