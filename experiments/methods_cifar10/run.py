"""All image methods at one budget on CIFAR-10: same encoder, images and steps.

Run: python experiments/methods_cifar10/run.py CIFAR [--epochs=100] [--seeds=1] [--methods=mae,...]
CIFAR is a folder of images with train/ and test/, a sub-folder a class. It adds to gpu.jsonl, or
where there is no GPU to cpu.jsonl, what is not there yet (method, seed), so several calls share the
work, and writes the table. In miniature: --epochs=1 --split='train[:5%]' --out=FILE.
"""

import argparse
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import jax  # noqa: E402

from experiments import comparison, records  # noqa: E402
from mim_jax.data import packing, sources  # noqa: E402

ELSEWHERE = ("videomae", "multimae")  # need clips, or pictures in several signals
SIDE = 32
# A probe of the 3072 numbers of an image would take longer than the training.
EVALUATIONS = dict(seeds=1, baselines=("random",))


def main():
  """Trains what is missing and writes the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("folder", help="CIFAR-10 as image files")
  parser.add_argument("--methods", default=",".join(compared()))
  parser.add_argument("--seeds", type=int, default=1)
  parser.add_argument("--epochs", type=float, default=100.0)
  parser.add_argument("--batch", type=int, default=512, help="images of a step")
  parser.add_argument("--split", default="train", help="what to train on, 'train[:5%%]' for a part")
  file = HERE / f"{jax.default_backend()}.jsonl"
  parser.add_argument("--out", type=pathlib.Path, default=file, help="records, one a line")
  options = parser.parse_args()
  command = "python experiments/methods_cifar10/run.py CIFAR " + " ".join(sys.argv[2:])
  with tempfile.TemporaryDirectory() as store:
    stored(options.folder, store)
    data = f"dataset=packed,path={store},size=tiny,image={SIDE}"
    epochs = dict(epochs=options.epochs)
    budget = comparison.Budget(data, options.batch, epochs, options.split, EVALUATIONS)
    methods = options.methods.split(",")
    more = dict(command=command.strip(), epochs=options.epochs, batch=options.batch)
    comparison.complete(options.out, methods, options.seeds, budget, **more)
  if options.out == file:
    write(file)


def compared() -> list[str]:
  """The methods that learn from images alone."""
  return [name for name in comparison.compared() if name not in ELSEWHERE]


def stored(folder: str, store: str) -> None:
  """Decodes all images once, so that reading them takes no time of the comparison."""
  splits = ("train", "test")
  opened = {split: sources.folder(path=folder, split=split, canvas=SIDE) for split in splits}
  settings = packing.Settings(SIDE, "raw")
  packing.pack(opened, store, settings, "CIFAR", workers=os.cpu_count() or 1)


def write(file: pathlib.Path) -> None:
  """The table of this folder's README that is made of these records."""
  found = records.read(file)
  last = found[-1]
  facts = (
    f"{last['epochs']:g} epochs, {last['step']:,} steps of {last['batch']} images; "
    f"{last['hardware']}; commit {last['commit']}, {last['date']}."
  )
  text = f"{comparison.table(found, 'run_seconds')}\n\n{facts}"
  records.place(HERE / "README.md", file.stem, text)


if __name__ == "__main__":
  main()
