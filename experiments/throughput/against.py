"""Our training step against those of PyTorch: same shapes, threads, precision, in turns.

Run: python experiments/throughput/against.py [--sizes=tiny,S,B] [--backend=cpu|gpu] [--rounds=7]

MAE against transformers' ViTMAEForPreTraining, and a ViT on all tokens with labels against its
ViTForImageClassification; each in eager mode and compiled, with and without fused attention. Every
row is a step on a batch that lies on the device, its optimizer included. Ours is timed twice: on
normalised floats, as theirs, and as it trains, with crop, flip and normalisation in the step. The
same matrix products are timed alone in both. Appends to against.jsonl and writes the table.
"""

import argparse
import contextlib
import importlib.metadata
import os
import pathlib
import statistics
import subprocess
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
PRODUCTS = ("matrix products alone, PyTorch", "matrix products alone, JAX")
IMAGE, PATCH = 224, 16


def main():
  """Measures each size in turns and writes what came out."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--sizes", default="tiny,S,B")
  parser.add_argument("--kinds", default="MAE,ViT")
  parser.add_argument("--backend", default="cpu", choices=("cpu", "gpu"))
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--contender", help=argparse.SUPPRESS)
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = dict(cpu="cpu", gpu="cuda")[options.backend]
  if options.contender:
    answer(options.contender, options.kinds, options.sizes, options.backend)
    return
  versions = {name: importlib.metadata.version(name) for name in ("jax", "torch", "transformers")}
  for kind in options.kinds.split(","):
    for size in options.sizes.split(","):
      row = compared(kind, size, options.backend, options.rounds)
      print(f"{kind} {size}: {in_words(row)}", flush=True)
      pages = os.environ.get("GLIBC_TUNABLES", "")
      records.append_row(FILE, options, row, versions=versions, malloc=pages)
      write()


def compared(kind: str, size: str, backend: str, rounds: int) -> dict:
  """Seconds a step of our step and of each other contender, beside each other in turns."""
  others = [*([TRAINED] if kind == "MAE" else []), *PEERS]
  pairs = {name: beside((name, OURS), kind, size, backend, rounds) for name in others}
  products = beside(PRODUCTS, kind, size, backend, rounds)
  return dict(kind=kind, size=size, batch=BATCH[backend][size], pairs=pairs, products=products)


def beside(
  names: tuple[str, str], kind: str, size: str, backend: str, rounds: int
) -> dict[str, list[float]]:
  """Seconds a step of two contenders, the second one ours.

  Both are processes, and wait while it is not their turn. On a GPU, whose memory they would share,
  one comes after the other.
  """
  if backend == "gpu":
    found = {}
    for key, who in zip(("theirs", "ours"), names, strict=True):
      with contender(who, kind, size, backend) as turn:
        found[key] = [turn() for _ in range(rounds)]
    return found
  their, our = (contender(name, kind, size, backend) for name in names)
  with their as their, our as our:
    turns = [(their(), our()) for _ in range(rounds)]
  return dict(theirs=[a for a, _ in turns], ours=[b for _, b in turns])


@contextlib.contextmanager
def contender(name: str, kind: str, size: str, backend: str):
  """A process that is ready to make steps, as a function that gives seconds a step."""
  words = [f"--contender={name}", f"--kinds={kind}", f"--sizes={size}", f"--backend={backend}"]
  command = [sys.executable, __file__, *words]
  process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

  def turn() -> float:
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())

  turn()  # ready, and warm
  try:
    yield turn
  finally:
    process.stdin.close()
    process.wait()


def answer(name: str, kind: str, size: str, backend: str) -> None:
  """Makes a step (on a GPU ten) for every line that comes in, and says what each took."""
  batch, some = BATCH[backend][size], 1 if backend == "cpu" else 10
  with tempfile.TemporaryDirectory() as folder:
    make = alone if name in PRODUCTS else theirs if name in PEERS else ours
    step = make(name, kind, size, batch, backend, pathlib.Path(folder))
    for _ in sys.stdin:
      print(step(some), flush=True)


def ours(name: str, kind: str, size: str, batch: int, backend: str, folder: pathlib.Path):
  """Our step."""
  from experiments import turns
  from experiments.throughput import supervised

  dtype = dict(cpu="float32", gpu="bfloat16")[backend]
  if kind == "ViT":
    return supervised.Step(size, batch, IMAGE, PATCH, dtype)
  made = steps.prepared("mae", size, batch, folder, dtype)
  return turns.Step(steps.only_normalised(made) if name == OURS else made)


def theirs(name: str, kind: str, size: str, batch: int, backend: str, folder: pathlib.Path):
  """PyTorch's step; `folder` is not needed."""
  from experiments.throughput import torch_steps
  from mim_jax.configs import recipe

  attention, compiled = PEERS[name]
  known = dict(**recipe.SIZES[size], image=IMAGE, patch=PATCH, attention=attention)
  if kind == "MAE":
    decoder = recipe.DECODERS.get(size, dict(width=512, depth=8, heads=16))
    made = torch_steps.mae(**known, decoder=decoder)
  else:
    made = torch_steps.classifier(**known)
  device, threads = dict(cpu="cpu", gpu="cuda")[backend], len(os.sched_getaffinity(0))
  return torch_steps.Step(made, batch, IMAGE, compiled, device, threads)


def alone(name: str, kind: str, size: str, batch: int, backend: str, folder: pathlib.Path):
  """The matrix products of a step; `folder` is not needed."""
  from experiments.throughput import products

  found = products.of_step(kind, size, batch, IMAGE, PATCH)
  if name == PRODUCTS[0]:
    device = dict(cpu="cpu", gpu="cuda")[backend]
    return products.in_torch(found, device, len(os.sched_getaffinity(0)))
  return products.in_jax(found, dict(cpu="float32", gpu="bfloat16")[backend])


def write() -> None:
  """The newest row of each kind and size, as a table for each backend in README.md."""
  for backend, (rows, said) in records.newest(FILE, "kind", "size").items():
    records.place(HERE / "README.md", f"against-{backend}", f"{table(rows)}\n\n{said}.")


def table(measured: list[dict]) -> str:
  """A row a size: our images/s, theirs, and ours over each of theirs, round by round."""
  rows = []
  for row in measured:
    ours = [row["batch"] / x for pair in row["pairs"].values() for x in pair["ours"]]
    cells = [f"{row['kind']} {row['size']}", str(row["batch"]), f"{statistics.median(ours):,.1f}"]
    for name in (TRAINED, *PEERS):
      pair = row["pairs"].get(name)
      rate = pair and row["batch"] / statistics.median(pair["theirs"])
      cells.append(f"{rate:,.1f} ({ratio(pair)[1]:.2f})" if pair else "–")
    rows.append([*cells, ahead(row), products(row)])
  header = ["images/s (ours / it)", "batch", OURS, TRAINED, *PEERS, "ours / best of theirs"]
  header.append("matrix products alone, share of a step: JAX, PyTorch (JAX / it)")
  return records.markdown(header, rows)


def ratio(pair: dict[str, list[float]]) -> list[float]:
  """Quartiles of how many times as fast ours is."""
  rounds = zip(pair["theirs"], pair["ours"], strict=True)
  return statistics.quantiles([theirs / ours for theirs, ours in rounds], n=4)


def ahead(row: dict) -> str:
  """Ratio to the one of theirs that comes nearest: median and quartiles."""
  low, middle, high = min((ratio(row["pairs"][name]) for name in PEERS), key=lambda r: r[1])
  return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def products(row: dict) -> str:
  """Which share of our step, and of their fastest, goes into the matrix products alone."""
  if "products" not in row:  # records of before they were timed
    return "–"
  best = min(PEERS, key=lambda name: ratio(row["pairs"][name])[1])
  shares = [
    statistics.median(row["products"][key]) / statistics.median(row["pairs"][best][key])
    for key in ("ours", "theirs")
  ]
  ours, theirs = (f"{100 * share:.0f} %" for share in shares)
  return f"{ours}, {theirs} ({ratio(row['products'])[1]:.2f})"


def in_words(row: dict) -> str:
  """Milliseconds of each contender on one line."""
  medians = {
    name: [1e3 * statistics.median(pair[key]) for key in ("theirs", "ours")]
    for name, pair in row["pairs"].items()
  }
  words = ", ".join(f"{name} {a:,.0f} ms (ours {b:,.0f})" for name, (a, b) in medians.items())
  return f"{words}; {ahead(row)}"


if __name__ == "__main__":
  main()
