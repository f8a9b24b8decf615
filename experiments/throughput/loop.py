"""From packed images to the loss: how much of the rate of steps alone the train loop keeps, and for
how long a save holds it up.

Run: python experiments/throughput/loop.py --photos=DIR [--size=B] [--backend=cpu|gpu] [--rounds=5]

The photos are packed raw, 256 pixels the shorter side. In turns: some steps on one batch that lies
on the device, and as many of the loop, each with its own batch from the store (crop and flip in the
step in both). Appends to loop.jsonl and writes the table of README.md.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402

FILE = HERE / "loop.jsonl"
BATCH = dict(cpu=8, gpu=512)


def main():
  """Measures and writes what came out."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--photos", required=True, help="a folder of JPEG files")
  parser.add_argument("--size", default="B")
  parser.add_argument("--backend", default="cpu", choices=("cpu", "gpu"))
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--steps", type=int, default=5, help="of a turn")
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = dict(cpu="cpu", gpu="cuda")[options.backend]
  from experiments import turns

  with tempfile.TemporaryDirectory() as store:
    step = turns.Step(prepared(options, store))
    calls = dict(alone=lambda: step(options.steps), loop=lambda: fed(step, options.steps))
    turns.alternate(calls, 1)
    seconds = turns.alternate(calls, options.rounds)
    saves = saved(step, options, store)
  share = statistics.quantiles(
    [a / b for a, b in zip(seconds["alone"], seconds["loop"], strict=True)], n=4
  )
  stamp = records.stamp() | dict(command="python experiments/throughput/loop.py --photos=PHOTOS")
  record = dict(**stamp, backend=options.backend, size=options.size, share=share, seconds=seconds)
  record |= dict(saves=saves, steps=options.steps)
  records.append(FILE, record | dict(batch=BATCH[options.backend], load=os.getloadavg()[0]))
  write()


def prepared(options, store: str):
  """MAE on a store of the photos."""
  from mim_jax import config as config_lib
  from mim_jax.data.image import packing, sources

  where = dict(path=options.photos, canvas=512)
  opened = {split: sources.folder(split=split, **where) for split in ("train", "test")}
  settings = packing.Settings(256, "raw")
  packing.pack(opened, store, settings, "PHOTOS", workers=os.cpu_count() or 1)
  made = config_lib.get_config("mae", f"size={options.size},dataset=packed,path={store}")
  dtype = dict(cpu="float32", gpu="bfloat16")[options.backend]
  made.train.update(dict(batch_size=BATCH[options.backend], steps=10_000, epochs=None, dtype=dtype))
  return made


def fed(step, steps: int) -> float:
  """Seconds a step, each with the next batch of the store, as the train loop does it."""
  import jax

  began = time.perf_counter()
  for _ in range(steps):
    batch = step.placed(next(step.batches))
    step.state, metrics = step.program(step.state, batch)
  jax.block_until_ready(metrics)
  return (time.perf_counter() - began) / steps


def saved(step, options, folder: str) -> dict[str, list[float]]:
  """Seconds for which a save holds the loop up, and those of a step while it is written."""
  import jax

  from mim_jax.checkpoint import store

  held, meanwhile = [], []
  with store.Checkpoints(pathlib.Path(folder) / "checkpoints", keep=1) as saves:
    for number in range(options.rounds + 1):  # the first compiles the digests
      saves.wait()
      jax.block_until_ready(step.state)
      began = time.perf_counter()
      saves.save(number, step.state, {})
      held.append(time.perf_counter() - began)
      meanwhile.append(step(options.steps))
  return dict(held=held[1:], meanwhile=meanwhile[1:])


def write() -> None:
  """The newest record of each backend, as a table in README.md."""
  rows = []
  for record in {r["backend"]: r for r in records.read(FILE)}.values():
    low, middle, high = (100 * value for value in record["share"])
    alone, loop = (
      record["batch"] / statistics.median(record["seconds"][key]) for key in ("alone", "loop")
    )
    share = f"{middle:.1f} % ({low:.1f} to {high:.1f})"
    where = f"{record['hardware']}, {record['date']}, {record['commit']}"
    seconds = statistics.median(record["seconds"]["alone"])
    held, meanwhile = (
      f"{statistics.median(record['saves'][key]) / seconds:.2f}" for key in ("held", "meanwhile")
    )
    rates = [f"MAE {record['size']}", f"{alone:,.1f}", f"{loop:,.1f}", share]
    rows.append([*rates, held, meanwhile, where])
  header = ["step", "images/s, steps alone", "images/s, from the store", "share"]
  header += ["a save stops the loop for, steps", "a step meanwhile takes, steps", "measured"]
  records.place(HERE / "README.md", "loop", records.markdown(header, rows))


if __name__ == "__main__":
  main()
