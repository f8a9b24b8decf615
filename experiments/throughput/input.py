"""How fast do images come, and against what?

Run: python experiments/throughput/input.py --photos=DIR    (a folder of JPEG files, any number)

Every row is measured for some seconds, one after the other, and again in each of the rounds, on the
same cores; a row is its median over the rounds. With torch installed PyTorch's DataLoader is among
them. Appends to results.jsonl and writes the tables of README.md.
"""

import argparse
import concurrent.futures
import gc
import importlib.util
import os
import pathlib
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy as np  # noqa: E402
import simplejpeg  # noqa: E402

from experiments import records  # noqa: E402
from mim_jax.data import pipeline  # noqa: E402
from mim_jax.data.image import host, packing, sources  # noqa: E402

SIZE, BATCH, SMALL = 224, 64, 32
FILE = HERE / "results.jsonl"
BARE, TORCH = "bare JPEG decode", "PyTorch DataLoader, PIL bicubic, normalised floats"
OURS, RAW = "ours, crop on the host, JPEG files", "ours, crop on the host, packed raw"
HAS_TORCH = importlib.util.find_spec("torch") is not None


def main():
  """Measures all rows and writes what came out."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--photos", required=True, help="a folder of JPEG files")
  parser.add_argument("--workers", default="1,2", help="numbers of threads or processes")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
  parser.add_argument("--note", default="", help="what else the machine was doing")
  options = parser.parse_args()
  if not HAS_TORCH:
    print("torch is not installed: the rows of PyTorch's DataLoader are left out")
  with tempfile.TemporaryDirectory() as folder:
    rows = contenders(options.photos, pathlib.Path(folder))
    counts = [int(n) for n in options.workers.split(",")]
    found = {(name, n): [] for name in rows for n in counts}
    loads = []
    for _ in range(options.rounds):
      for name, n in found:
        loads.append(os.getloadavg()[0])
        found[name, n].append(rate(rows[name], n, options.seconds))
        print(f"{name}, {n}: {found[name, n][-1][0]:,.0f} images/s", flush=True)
  stamp = records.stamp() | dict(command="python experiments/throughput/input.py --photos=PHOTOS")
  record = dict(
    **stamp,
    note=options.note,
    load=[round(min(loads), 1), round(max(loads), 1)],
    photos=len(files_of(options.photos)),
    rounds=options.rounds,
    rows=[
      dict(
        name=name,
        workers=n,
        images_per_second=[round(x) for x, _ in values],
        cpu_ms=[round(x, 3) for _, x in values],
      )
      for (name, n), values in found.items()
    ],
  )
  records.append(FILE, record)
  records.place(HERE / "README.md", "input", table(record))


def contenders(photos: str, folder: pathlib.Path) -> dict:
  """{row: workers -> endless batches}."""
  whole = sources.folder(path=photos, split="all", canvas=512)
  paths = [os.path.join(whole.root, name) for name in whole.files]

  def packed(kind):
    to = folder / kind
    settings = packing.Settings(256, kind)
    packing.pack({"train": whole}, str(to), settings, photos, workers=2, say=lambda _: None)
    return lambda: sources.packed(path=str(to))

  def crops(source, **how):
    return lambda n: ours(host.cropped(source=source, size=(SIZE, SIZE)), **dict.fromkeys(how, n))

  rows = {BARE: lambda n: decoded(paths, n)}
  if HAS_TORCH:
    from experiments.throughput import peers

    rows[TORCH] = lambda n: peers.loader(paths * 20, SIZE, BATCH, n)
    rows["PyTorch DataLoader, PIL bilinear, bytes"] = lambda n: peers.loader(
      paths * 20, SIZE, BATCH, n, kernel=peers.Image.BILINEAR, floats=False
    )
  jpeg, raw = packed("jpeg"), packed("raw")
  rows |= {
    OURS: crops(lambda: whole, threads=1),
    "the same, processes": crops(lambda: whole, workers=1),
    "ours, crop on the host, packed JPEG": crops(jpeg, threads=1),
    RAW: crops(raw, threads=1),
    "ours, whole images for the device, JPEG files": lambda n: ours(whole, threads=n),
    "ours, whole images for the device, packed raw": lambda n: ours(raw(), threads=n),
  }
  small = np.random.default_rng(0).integers(0, 256, (50_000, SMALL, SMALL, 3), np.uint8)
  rows["ours, arrays of 32 x 32"] = lambda n: ours(sources.Arrays(small), threads=n)
  return rows


def files_of(photos: str):
  """The names of all photos."""
  return sources.folder(path=photos, split="all").files


def ours(source, threads: int = 1, workers: int = 0):
  """An endless stream of batches; the source's images are repeated epoch by epoch."""
  batches = pipeline.batches(source, BATCH, 0, threads=threads, workers=workers)
  return batches


def decoded(paths: list[str], threads: int):
  """Batches of whole images, read and decoded by libjpeg-turbo, and nothing else."""

  def read(path):
    with open(path, "rb") as file:
      return simplejpeg.decode_jpeg(file.read(), strict=False)

  order = np.random.default_rng(0)
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    while True:
      yield list(pool.map(read, order.choice(paths, BATCH)))


def rate(start, workers: int, seconds: float) -> tuple[float, float]:
  """(images per second, CPU milliseconds per image), after workers have filled their buffers."""
  batches = start(workers)
  for _ in range(6 * workers + 4):
    next(batches)
  began, spent, count = time.perf_counter(), cpu_seconds(), 0
  while time.perf_counter() - began < seconds:
    next(batches)
    count += BATCH
  found = count / (time.perf_counter() - began), 1000 * (cpu_seconds() - spent) / count
  batches.close()
  del batches
  gc.collect()
  return found


def cpu_seconds() -> float:
  """Processor time of this process and all below it; other work on the machine is not in it."""
  parents, ticks = {}, {}
  for name in filter(str.isdigit, os.listdir("/proc")):
    try:
      fields = pathlib.Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
    except OSError:  # ended meanwhile
      continue
    parents[int(name)], ticks[int(name)] = int(fields[1]), int(fields[11]) + int(fields[12])
  below = {os.getpid()}
  while more := {pid for pid, parent in parents.items() if parent in below} - below:
    below |= more
  return sum(ticks.get(pid, 0) for pid in below) / os.sysconf("SC_CLK_TCK")


def table(record: dict) -> str:
  """Medians over the rounds, and their ratios to the bare decode and to PyTorch."""

  def medians(key):
    return {(r["name"], r["workers"]): statistics.median(r[key]) for r in record["rows"]}

  rates, costs = medians("images_per_second"), medians("cpu_ms")
  counts = sorted({n for _, n in rates})
  header = ["images/s", *(f"{n} worker{'s' * (n > 1)}" for n in counts)]
  header += ["/ bare", "/ PyTorch", "CPU ms an image", "bare / it", "PyTorch / it"]
  lines, most = [], counts[-1]
  for name in dict.fromkeys(row["name"] for row in record["rows"]):
    cells = [f"{rates[name, n]:,.0f}" for n in counts]
    cells += [ratio(rates, (name, most), (base, most)) for base in (BARE, TORCH)]
    cells += [f"{costs[name, most]:.3g}"]
    cells += [ratio(costs, (base, most), (name, most)) for base in (BARE, TORCH)]
    lines.append([name, *cells])
  told = (
    f"{record['date']}, commit {record['commit']}, {record['hardware']}; {record['photos']} "
    f"photos, {record['rounds']} rounds; load {record['load'][0]} to {record['load'][1]}. "
    f"{record['note']}"
  )
  return f"{records.markdown(header, lines)}\n\n{told}"


def ratio(values: dict, above: tuple, below: tuple) -> str:
  """One number of `values` over another, – where there is none."""
  there = above in values and below in values and values[below]
  return f"{values[above] / values[below]:.2f}" if there else "–"


if __name__ == "__main__":
  main()
