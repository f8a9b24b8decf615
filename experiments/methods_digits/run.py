"""All methods at one small budget on the embedded digits: same encoder, images and steps.

Run: python experiments/methods_digits/run.py [--methods=mae,simmim] [--seeds=3] [--steps=1200]
It adds to results.jsonl what is not there yet (method, seed), measures a step of all of them side
by side (step_times.jsonl), and writes the tables. With --seeds=0 it measures and writes alone.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time

import jax

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402
from mim_jax import config, experiment, methods, run  # noqa: E402
from mim_jax.train import mesh  # noqa: E402
from mim_jax.train import program as program_lib  # noqa: E402

FILE = HERE / "results.jsonl"
TIMES = HERE / "step_times.jsonl"
ROUNDS, STEPS = 15, 10
BATCH = 256
ARGUMENT = "dataset=digits,size=nano"
# What has to be trained first, and the argument that names it.
BEFORE = {"beit": "codebook", "maskalign": "mae"}
COLUMNS = {"linear_10": "10 labels a class", "linear": "all labels", "knn": "kNN"}


def main():
  """Trains what is missing and writes the tables."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--methods", default=",".join(compared()))
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=1200)
  options = parser.parse_args()
  done = {(r["method"], r["seed"]) for r in records.read(FILE)} if FILE.exists() else set()
  for seed in range(options.seeds):
    for method in options.methods.split(","):
      if (method, seed) not in done:
        with tempfile.TemporaryDirectory() as folder:
          records.append(FILE, trained(method, seed, options.steps, pathlib.Path(folder)))
  step_times()
  write()


def compared() -> list[str]:
  """MAE and the others; the codebook is a stage, not a method."""
  return [name for name in config.names() if name != "codebook"]


def trained(method: str, seed: int, steps: int, folder: pathlib.Path) -> dict:
  """The record of one run, after the run that it builds on."""
  arg = ARGUMENT
  if method in BEFORE:
    first = prepared(BEFORE[method], ARGUMENT, seed, steps)
    run.run(first, folder / "first")
    arg += f",teacher={folder / 'first'}"
  began = time.process_time()
  facts = run.run(prepared(method, arg, seed, steps), folder / "run")
  cpu = time.process_time() - began
  record = records.of_run(facts, run.read_results(folder / "run"), method=method)
  record["command"] = "python experiments/methods_digits/run.py"
  record["cpu_seconds"] = round(cpu, 1)
  return record


def step_times() -> None:
  """Times all methods in turns, a few steps each, so that what slows one slows all."""
  turns = {method: timed(prepared(method, ARGUMENT, 0, 10_000)) for method in compared()}
  seconds: dict[str, list[float]] = {method: [] for method in turns}
  for _ in range(ROUNDS):
    for method, turn in turns.items():
      seconds[method].append(turn())
  ratios = {
    method: [a / b for a, b in zip(values, seconds["mae"], strict=True)]
    for method, values in seconds.items()
  }
  quartiles = {method: statistics.quantiles(values, n=4) for method, values in ratios.items()}
  medians = {method: statistics.median(values) for method, values in seconds.items()}
  what = dict(rounds=ROUNDS, steps=STEPS, batch=BATCH, argument=ARGUMENT)
  records.append(TIMES, dict(**records.stamp(), **what, seconds=medians, ratio_to_mae=quartiles))


def timed(made):
  """A function that makes some steps and returns seconds a step; compiled and warm."""
  one = experiment.build(made)
  batch = mesh.to_devices(next(one.batches()), one.mesh)
  program = program_lib.compile_update(one, one.abstract_state(), batch)
  state = [one.init(jax.random.key(0))]

  def turn() -> float:
    began = time.perf_counter()
    for _ in range(STEPS):
      state[0], metrics = program(state[0], batch)
    jax.block_until_ready(metrics)
    return (time.perf_counter() - began) / STEPS

  turn()
  return turn


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
    seconds = statistics.fmean(r["cpu_seconds"] for r in some)
    rows.append(
      [method, *cells, random, f"{seconds:.0f}", f"{some[0]['flops_per_image'] / 1e6:.1f}"]
    )
  header = [
    "method",
    *COLUMNS.values(),
    "its encoder untrained, 10 labels",
    "CPU seconds",
    "MFLOP an image",
  ]
  return records.markdown(header, rows)


def write():
  """The tables of this folder's README and of the project's."""
  records.place(HERE / "README.md", "methods", table(records.read(FILE)))
  records.place(HERE.parents[1] / "README.md", "methods", methods.markdown(methods.rows()))


if __name__ == "__main__":
  main()
