"""Our training step against those of PyTorch: same shapes, threads, precision, in turns.

Run: python experiments/throughput/against.py [--sizes=tiny,S,B] [--backend=cpu|gpu] [--rounds=7]

MAE against transformers' ViTMAEForPreTraining, and a ViT on all tokens with labels against its
ViTForImageClassification; each in eager mode and compiled, with and without fused attention. Every
row is a step on a batch that lies on the device, its optimizer included. Ours is timed twice: on
normalised floats, as theirs, and as it trains, with crop, flip and normalisation in the step. The
same matrix products are timed alone in both. Appends to against.jsonl and writes the table.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402
from experiments.throughput import steps  # noqa: E402

FILE = HERE / "against.jsonl"
BATCH = dict(cpu=dict(tiny=64, S=16, B=8, L=2), gpu=dict(tiny=4096, S=1024, B=512, L=512, H=256))
PEERS = {
  "transformers, eager": ("eager", False),
  "transformers, fused attention": ("sdpa", False),
  "transformers, compiled": ("eager", True),
  "transformers, fused attention, compiled": ("sdpa", True),
}
OURS, TRAINED = "ours", "ours, crop in the step"
IMAGE, PATCH = 224, 16


def main():
  """Measures each size in turns and writes what came out."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--sizes", default="tiny,S,B")
  parser.add_argument("--kinds", default="MAE,ViT")
  parser.add_argument("--backend", default="cpu", choices=("cpu", "gpu"))
  parser.add_argument("--rounds", type=int, default=7)
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = dict(cpu="cpu", gpu="cuda")[options.backend]
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # two frameworks share the device
  rows = []
  for kind in options.kinds.split(","):
    for size in options.sizes.split(","):
      rows.append(compared(kind, size, options.backend, options.rounds))
      print(f"{kind} {size}: {in_words(rows[-1])}", flush=True)
  record = dict(**records.stamp(), backend=options.backend, rounds=options.rounds, rows=rows)
  records.append(FILE, record | dict(load=os.getloadavg()[0], versions=versions()))
  write()


def versions() -> dict[str, str]:
  """Of what is compared."""
  import jax
  import torch
  import transformers

  return {module.__name__: module.__version__ for module in (jax, torch, transformers)}


def compared(kind: str, size: str, backend: str, rounds: int) -> dict:
  """Seconds a step of all contenders at one size."""
  from experiments import turns

  batch, some = BATCH[backend][size], 1 if backend == "cpu" else 10
  with tempfile.TemporaryDirectory() as folder:
    contenders = ours(kind, size, batch, backend, pathlib.Path(folder))
    contenders |= theirs(kind, size, batch, backend)
    calls = {name: (lambda step=step: step(some)) for name, step in contenders.items()}
    turns.alternate(calls, 1)  # caches of the machine are warm, clocks are up
    seconds = turns.alternate(calls, rounds)
  return dict(kind=kind, size=size, batch=batch, seconds=seconds)


def ours(kind: str, size: str, batch: int, backend: str, folder: pathlib.Path) -> dict:
  """Our steps: {name: step}."""
  from experiments import turns
  from experiments.throughput import supervised

  dtype = dict(cpu="float32", gpu="bfloat16")[backend]
  if kind == "ViT":
    return {OURS: supervised.Step(size, batch, IMAGE, PATCH, dtype)}
  whole = steps.prepared("mae", size, batch, folder, dtype)
  bare = whole.copy_and_resolve_references()
  bare.unlock()
  norm = {key: whole.data.augment[key] for key in ("mean", "std")}
  from mim_jax import config as config_lib
  from mim_jax.data import augment

  bare.data.augment = config_lib.part(augment.ready, **norm)
  return {OURS: turns.Step(bare), TRAINED: turns.Step(whole)}


def theirs(kind: str, size: str, batch: int, backend: str) -> dict:
  """PyTorch's steps: {name: step}."""
  from experiments.throughput import torch_steps
  from mim_jax.configs import common, mae

  network = common.SIZES[size]
  device, threads = dict(cpu="cpu", gpu="cuda")[backend], len(os.sched_getaffinity(0))
  found = {}
  for name, (attention, compiled) in PEERS.items():
    known = dict(**network, image=IMAGE, patch=PATCH, attention=attention)
    if kind == "MAE":
      decoder = mae.DECODERS.get(size, dict(width=512, depth=8, heads=16))
      made = torch_steps.mae(**known, decoder=decoder)
    else:
      made = torch_steps.classifier(**known)
    found[name] = torch_steps.Step(made, batch, IMAGE, compiled, device, threads)
  return found


def write() -> None:
  """The newest record of each backend, as tables in README.md."""
  for record in {r["backend"]: r for r in records.read(FILE)}.values():
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    where = f"{record['date']}, commit {record['commit']}, {record['hardware']}; {versions}"
    text = f"{table(record)}\n\n{where}; {record['rounds']} rounds."
    records.place(HERE / "README.md", f"against-{record['backend']}", text)


def table(record: dict) -> str:
  """A row a size, a column a contender: images/s, and ours over the best of theirs."""
  names = [OURS, TRAINED, *PEERS]
  rows = []
  for row in record["rows"]:
    rates = [
      f"{row['batch'] / statistics.median(row['seconds'][name]):,.1f}"
      if name in row["seconds"]
      else "–"
      for name in names
    ]
    rows.append([f"{row['kind']} {row['size']}", str(row["batch"]), *rates, ahead(row)])
  return records.markdown(["images/s", "batch", *names, "ours / best of theirs"], rows)


def ahead(row: dict) -> str:
  """Ratio to the fastest of theirs, round by round: median and quartiles."""
  best = min(PEERS, key=lambda name: statistics.median(row["seconds"][name]))
  pairs = zip(row["seconds"][best], row["seconds"][OURS], strict=True)
  low, middle, high = statistics.quantiles([b / a for b, a in pairs], n=4)
  return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def in_words(row: dict) -> str:
  """Milliseconds of each contender on one line."""
  medians = {name: 1e3 * statistics.median(values) for name, values in row["seconds"].items()}
  return ", ".join(f"{name} {ms:,.0f} ms" for name, ms in medians.items()) + f"; {ahead(row)}"


if __name__ == "__main__":
  main()
