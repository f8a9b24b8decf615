"""What each choice costs: mask ratios, techniques, and what methods add to MAE.

Run: python experiments/throughput/switches.py [--size=B] [--backend=cpu|gpu] [--only=CASE,...]

Each case and plain MAE (mask ratio 0.75) make their steps in turns, in one process; a row is the
median of the ratios of a round, beside the ratio of FLOPs as traced. Appends to
switches.jsonl and writes the table of README.md.
"""

import argparse
import functools
import os
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Iterator

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402
from experiments.throughput import steps  # noqa: E402

FILE = HERE / "switches.jsonl"
BASE = ("mae", {})
RATIO = "objective.mask.ratio"
BOTH = ("parts.encoder.stack", "parts.predictor.stack")
CROPPED = "crop and flip in the step"  # elsewhere images are only normalised
# method, settings that differ from its config
CASES = {
  "mask ratio 0 (one patch masked)": ("mae", {RATIO: 0.005}),
  "mask ratio 0.5": ("mae", {RATIO: 0.5}),
  "mask ratio 0.9": ("mae", {RATIO: 0.9}),
  "mask ratio 0.95": ("mae", {RATIO: 0.95}),
  CROPPED: ("mae", {}),
  "scan over blocks": ("mae", {f"{part}.scan": True for part in BOTH}),
  "remat dots": ("mae", {f"{part}.remat": "dots" for part in BOTH}),
  "remat full": ("mae", {f"{part}.remat": "full" for part in BOTH}),
  "drop path": ("mae", {"parts.encoder.stack.drop_path": 0.1}),
  "tanh for erf in the encoder's GELU": ("mae", {"parts.encoder.stack.activation": "gelu_tanh"}),
  "bfloat16": ("mae", {"train.dtype": "bfloat16"}),
  "HPM: teacher and second loss": ("hpm", {}),
  "LocalMIM: HOG at four depths": ("localmim", {}),
  "SimMIM: mask tokens in the encoder": ("simmim", {}),
  "I-JEPA: teacher of all tokens": ("ijepa", {}),
}


def main():
  """Measures all cases and writes what came out."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--only", default=",".join(CASES), help="cases, separated by commas")
  parser.add_argument("--size", default="B")
  parser.add_argument("--backend", default="cpu", choices=("cpu", "gpu"))
  parser.add_argument("--rounds", type=int, default=5)
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = dict(cpu="cpu", gpu="cuda")[options.backend]
  with tempfile.TemporaryDirectory() as folder:
    for row in measured(options, pathlib.Path(folder)):
      records.append_row(FILE, options, row)
      write()


def measured(options, folder: pathlib.Path) -> Iterator[dict]:
  """A row a case."""
  import jax

  from experiments import turns

  some = 1 if options.backend == "cpu" else 10
  plain = prepared(*BASE, options, folder)
  base = turns.Step(steps.only_normalised(plain))
  for name in options.only.split(","):
    made = prepared(*CASES[name], options, folder)
    step = turns.Step(made if name == CROPPED else steps.only_normalised(made))
    calls = {"base": functools.partial(base, some), name: functools.partial(step, some)}
    seconds = turns.alternate(calls, options.rounds)
    quartiles = turns.ratios(seconds, "base")[name]
    flops = unrolled(made, step) / base.flops
    print(f"{name}: time {quartiles[1]:.2f}, FLOPs {flops:.2f}", flush=True)
    yield dict(size=options.size, name=name, seconds=seconds, ratio=quartiles, flops=flops)
    del step, calls
    jax.clear_caches()


def unrolled(made, step) -> float:
  """Counts FLOPs of a step with all its blocks: of a scan XLA counts one block alone."""
  from experiments import turns

  scans = {f"{part}.scan": False for part in BOTH}
  if not any(made.parts[part.split(".")[1]].get("stack", {}).get("scan") for part in BOTH):
    return step.flops
  plain = made.copy_and_resolve_references()
  plain.update_from_flattened_dict(scans)
  return turns.flops(plain)


def prepared(method: str, settings: dict, options, folder: pathlib.Path):
  """The config of a case."""
  cpu = options.backend == "cpu"
  batch, dtype = (8, "float32") if cpu else (512, "bfloat16")
  made = steps.prepared(method, options.size, batch, folder, dtype)
  made.update_from_flattened_dict(settings)
  return made


def write() -> None:
  """The newest row of each case, as a table for each backend in README.md."""
  for backend, (rows, said) in records.newest(FILE, "size", "name").items():
    records.place(HERE / "README.md", f"switches-{backend}", f"{table(rows)}\n\n{said}.")


def table(measured: list[dict]) -> str:
  """A row a case: time and FLOPs beside plain MAE's."""
  rows = []
  for row in measured:
    low, middle, high = row["ratio"]
    times = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    ms = f"{1e3 * statistics.median(row['seconds'][row['name']]):,.0f}"
    case = f"{row['size']}: {row['name']}"
    rows.append([case, ms, times, f"{row['flops']:.2f}", f"{middle / row['flops']:.2f}"])
  header = ["step", "ms", "time, plain = 1 (quartiles)", "FLOPs, plain = 1", "time / FLOPs"]
  return records.markdown(header, rows)


if __name__ == "__main__":
  main()
