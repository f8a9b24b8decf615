"""MAE on a folder of JPEG files: five epochs of a very small model on CIFAR-10.

Run: python experiments/cifar10/run.py FOLDER    (writes results.jsonl and the table)
"""

import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402
from mim_jax import run  # noqa: E402
from mim_jax.cli import arguments  # noqa: E402

FILE = HERE / "results.jsonl"
OVERRIDES = ["--config.evaluations.seeds=1", "--config.evaluations.baselines=('random',)"]


def main(folder: str):
  """Trains once and writes what came out; the folder's own path stays out of the record."""
  spec = f"mae:dataset=folder,path={folder},size=tiny,image=32,epochs=5"
  with tempfile.TemporaryDirectory() as workdir:
    facts = run.run(arguments.config(spec, OVERRIDES), workdir)
    record = records.of_run(facts, run.read_results(pathlib.Path(workdir)))
  record["command"] = "python experiments/cifar10/run.py CIFAR"
  FILE.write_text("")
  records.append(FILE, record)
  records.place(HERE / "README.md", "cifar10", table(records.read(FILE)))


def table(found: list[dict]) -> str:
  """One row an encoder, one column an evaluation, and the rate."""
  scores, last = found[-1]["scores"], found[-1]
  rows = [
    [who, *(f"{100 * scores[column][who]:.1f}" for column in scores)] for who in scores["knn"]
  ]
  facts = (
    f"{last['step']:,} steps, {last['images_per_second']:,.0f} images/s, "
    f"{last['seconds']['train']:.0f} s of training on {last['hardware']}; "
    f"commit {last['commit']}, {last['date']}."
  )
  return records.markdown(["accuracy in %", *scores], rows) + "\n\n" + facts


if __name__ == "__main__":
  main(sys.argv[1])
