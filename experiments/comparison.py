"""Methods beside each other at one budget: same encoder, images seen, optimizer steps."""

import dataclasses
import pathlib
import statistics
import tempfile
import time

from experiments import records
from mim_jax import config, run

# What has to be trained first, and the argument that names it.
BEFORE = {"beit": "codebook", "maskalign": "mae"}
BUDGET = "epochs", "batch"  # where a comparison has several
COLUMNS = {"linear_10": "10 labels a class", "linear": "all labels", "knn": "kNN"}


@dataclasses.dataclass(frozen=True)
class Budget:
  """What all methods of a comparison are given.

  Attributes:
    argument: data and encoder, the argument of every config.
    batch_size: images of a step.
    settings: of `train`; `steps` or `epochs`, and what else is the same for all.
    split: what to train on.
    evaluations: which evaluations and baselines, where not those of the configs.
  """

  argument: str
  batch_size: int
  settings: dict
  split: str = "train"
  evaluations: dict = dataclasses.field(default_factory=dict)

  def config(self, method: str, seed: int, more: str = ""):
    """The config of a method at this budget."""
    made = config.get_config(method, self.argument + more)
    made.seed = seed
    budget = dict(steps=None, epochs=None, batch_size=self.batch_size, fit_batch=False)
    made.train.update(budget | dict(log_every=20) | self.settings)
    made.data.train.split = self.split
    made.evaluations.update(self.evaluations)
    return made


def compared(folder: pathlib.Path) -> list[str]:
  """The methods that a comparison has a record of; name another one to add it."""
  return sorted(file.stem for file in folder.glob("*.jsonl"))


def complete(file: pathlib.Path, methods: list[str], seeds: int, budget: Budget, **more) -> None:
  """Adds to `file` the records of methods and seeds that it does not have yet.

  more: goes into the records; those of other `epochs` or `batch` are not what is asked for.
  """
  same = [r for r in records.read(file) if all(r.get(k) == more.get(k) for k in BUDGET)]
  done = {(r["method"], r["seed"]) for r in same}
  for seed in range(seeds):
    for method in methods:
      if (method, seed) not in done:
        with tempfile.TemporaryDirectory() as folder:
          record = trained(method, seed, budget, pathlib.Path(folder))
          records.append(file, record | more)


def last(found: list[dict]) -> list[dict]:
  """Of each method and seed the record made last."""
  return list({(record["method"], record["seed"]): record for record in found}.values())


def trained(method: str, seed: int, budget: Budget, folder: pathlib.Path) -> dict:
  """The record of one run, after the run that it builds on."""
  more = ""
  if method in BEFORE:
    first = budget.config(BEFORE[method], seed)
    first.evaluations = dict(seeds=1, baselines=())  # nobody asks
    run.run(first, folder / "first")
    more = f",teacher={folder / 'first'}"
  began, wall = time.process_time(), time.monotonic()
  facts = run.run(budget.config(method, seed, more), folder / "run")
  spent = dict(
    cpu_seconds=round(time.process_time() - began, 1), run_seconds=round(time.monotonic() - wall, 1)
  )
  return records.of_run(facts, run.read_results(folder / "run"), method=method) | spent


def table(found: list[dict], seconds: bool = True) -> str:
  """Accuracy on held-out images in per cent, mean ± std over seeds, best first.

  seconds: whether to show those of the processor.
  """
  by_method: dict[str, list[dict]] = {}
  for record in found:
    by_method.setdefault(record["method"], []).append(record)

  def scores(records_of, column, who="pretrained"):
    return [r["scores"][column][who] for r in records_of]

  def mean(method):
    return statistics.fmean(scores(by_method[method], "linear_10"))

  rows = []
  for method in sorted(by_method, key=mean, reverse=True):
    some = by_method[method]
    cells = [records.spread(scores(some, column)) for column in COLUMNS]
    random = records.spread(scores(some, "linear_10", "random"))
    spent = [f"{statistics.fmean(r['cpu_seconds'] for r in some):.0f}"] if seconds else []
    cost = some[0]["flops_per_image"] / 1e6
    rows.append([method, *cells, random, *spent, f"{cost:.1f}"])
  header = ["method", *COLUMNS.values(), "its encoder untrained, 10 labels"]
  words = ["CPU seconds"] if seconds else []
  return records.markdown([*header, *words, "MFLOP an image"], rows)
