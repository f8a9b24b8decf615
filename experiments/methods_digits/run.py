"""All methods at one small budget on the embedded digits: same encoder, images and steps.

Run: python experiments/methods_digits/run.py [--methods=mae,simmim] [--seeds=3] [--steps=1200]
It adds to results/METHOD.jsonl what is not there yet (seeds), measures a step of each beside one of
MAE (step_times/METHOD.jsonl), and writes the tables. With --seeds=0 it measures and writes alone.
"""

import argparse
import functools
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import comparison, records, turns  # noqa: E402
from mim_jax import catalog  # noqa: E402

FILE = HERE / "results"  # a file a method
TIMES = HERE / "step_times"
ROUNDS, STEPS = 15, 10
BATCH = 256
ARGUMENT = "dataset=embedded,size=nano"


def main():
  """Trains what is missing and writes the tables."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--methods", default=",".join(comparison.compared(FILE)))
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=1200)
  options = parser.parse_args()
  command = dict(command="python experiments/methods_digits/run.py")
  budget = comparison.Budget(ARGUMENT, BATCH, dict(steps=options.steps))
  comparison.complete(FILE, options.methods.split(","), options.seeds, budget, **command)
  step_times(options.methods.split(","))
  write()


def step_times(methods: list[str]) -> None:
  """Times the methods and MAE in turns, a few steps each."""
  budget = comparison.Budget(ARGUMENT, BATCH, dict(steps=10_000))
  steps = {method: turns.Step(budget.config(method, 0)) for method in {*methods, "mae"}}
  calls = {method: functools.partial(step, STEPS) for method, step in steps.items()}
  seconds = turns.alternate(calls, ROUNDS)
  what = dict(rounds=ROUNDS, steps=STEPS, batch=BATCH, argument=ARGUMENT)
  for method, ratio in turns.ratios(seconds, "mae").items():
    median = statistics.median(seconds[method])
    own = dict(method=method, seconds=median, ratio_to_mae=ratio)
    records.append(TIMES, dict(**records.stamp(), **what, **own))


def write():
  """The tables of this folder's README and of the project's."""
  records.place(HERE / "README.md", "methods", comparison.table(records.read(FILE)))
  records.place(HERE.parents[1] / "README.md", "methods", catalog.markdown(catalog.chosen()))
  records.place(HERE.parents[1] / "README.md", "counts", f"{catalog.counts()}.")


if __name__ == "__main__":
  main()
