"""All methods at one budget on CIFAR-10: same encoder, images and steps.

Run: python experiments/methods_cifar10/run.py CIFAR [--epochs=5] [--seeds=1] [--methods=mae,...]
CIFAR is a folder of images with train/ and test/, a sub-folder a class. It adds to results/
what is not there yet (method, seed) at this budget, so several calls share the work, and writes the
table, of what was made last. With --jobs=8 as many methods train at once and share the device,
whose time one small network does not fill. In miniature: --epochs=1 --split='train[:5%]'
--out=FILE.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy as np  # noqa: E402

from experiments import comparison, records  # noqa: E402
from mim_jax.data.image import sources  # noqa: E402

FILE, TRIES = HERE / "results", HERE / "tries.jsonl"
SIDE = 32
# MultiMAE's maps are made of the same file; for VideoMAE a camera pans over the pictures.
# iBOT stood still with centred targets (tries.jsonl): its balanced ones are taken.
# SparK's network of size nano costs what the others' of size tiny costs where it sees all tokens.
PLAIN = f"size=tiny,image={SIDE}"
ARGUMENTS = dict(
  videomae=f"{PLAIN},patch=4,frames=4,stride=2",
  ibot=f"{PLAIN},targets=sinkhorn",
  spark=f"size=nano,image={SIDE}",
)
# Pixels are no encoder's, and a probe of 50,000 x 3072 numbers takes long.
EVALUATIONS = dict(seeds=1, baselines=("random",))


def main():
  """Trains what is missing and writes the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("folder", help="CIFAR-10 as image files")
  parser.add_argument("--methods", default=",".join(comparison.compared(FILE)))
  parser.add_argument("--seeds", type=int, default=1)
  parser.add_argument("--epochs", type=float, default=5.0)
  parser.add_argument("--batch", type=int, default=256, help="images of a step")
  parser.add_argument("--split", default="train", help="what to train on, 'train[:5%%]' for a part")
  parser.add_argument("--jobs", type=int, default=1, help="methods at a time, a process each")
  parser.add_argument("--out", type=pathlib.Path, default=FILE, help="records, one a line")
  options = parser.parse_args()
  if options.jobs > 1:  # each takes of the device's memory what it needs, not most of it at once
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  with tempfile.TemporaryDirectory() as store:
    path = stored(options.folder, pathlib.Path(store))
    spawn = multiprocessing.get_context("spawn")  # JAX and its threads cannot be forked
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=spawn) as pool:
      calls = [pool.submit(train, m, path, options) for m in options.methods.split(",")]
      for call in concurrent.futures.as_completed(calls):
        call.result()
  if options.out == FILE:
    write()


def train(method: str, path: pathlib.Path, options) -> None:
  """Adds the records of one method that are missing."""
  argument = ARGUMENTS.get(method, PLAIN)
  budget = comparison.Budget(
    f"dataset=arrays,path={path},{argument}",
    options.batch,
    dict(epochs=options.epochs),
    options.split,
    EVALUATIONS,
  )
  command = "python experiments/methods_cifar10/run.py CIFAR " + " ".join(sys.argv[2:])
  more = dict(argument=argument, epochs=options.epochs, batch=options.batch, jobs=options.jobs)
  more |= dict(command=command.strip(), flags=os.environ.get("XLA_FLAGS", ""))
  comparison.complete(options.out, [method], options.seeds, budget, **more)


def stored(folder: str, store: pathlib.Path) -> pathlib.Path:
  """Decodes all images once, so that reading them takes no time of the comparison."""
  made = {}
  for split in ("train", "test"):
    source = sources.folder(path=folder, split=split, canvas=SIDE)
    batch = source[np.arange(len(source))]
    made |= {f"{split}_images": batch["image"], f"{split}_labels": batch["label"]}
  np.savez(store / "cifar10.npz", **made)
  return store / "cifar10.npz"


def write() -> None:
  """The tables of this folder's README: of the methods, and of what was tried before."""
  for file in (FILE, TRIES):
    records.place(HERE / "README.md", file.stem, told(records.read(file)))


def told(found: list[dict]) -> str:
  """A row a method, then what they were made with: a line for all that have that in common.

  Of a method and seed it is the record made last.
  """
  found = comparison.last(found)
  together: dict[str, list[str]] = {}
  for record in found:
    together.setdefault(made_with(record), []).append(record["method"])
  lines = list(together)
  if len(lines) > 1:
    lines = [f"{', '.join(methods)}: {said}" for said, methods in together.items()]
  alone = all(record.get("jobs", 1) == 1 for record in found)
  return "\n\n".join([comparison.table(found, seconds=alone), *lines])


def made_with(record: dict) -> str:
  """Budget, hardware, versions, commit and date of a record."""
  jobs = record.get("jobs", 1)
  return (
    f"{record['epochs']:g} epochs, {record['step']:,} steps of {record['batch']} images; "
    f"{record['hardware']}{f', shared by {jobs} methods at a time' if jobs > 1 else ''}; "
    f"jax {record['versions']['jax']}; commit {record['commit']}; {record['date']}."
    + (f" Evaluated on {record['evaluated_on']}." if "evaluated_on" in record else "")
  )


if __name__ == "__main__":
  main()
