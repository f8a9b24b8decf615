"""What a training step costs, method by method: time, FLOPs, memory, compilation.

Run: python experiments/throughput/steps.py [--only='MAE B'] [--backend=cpu|gpu] [--rounds=5]

Each case has a process of its own, so that its peak of memory is its own. Input is noise, uint8, on
the host. Before each turn of steps a large matrix product is timed: what the machine could do at
that moment. Appends to steps.jsonl and writes the table of README.md.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402
from experiments.throughput import roofline  # noqa: E402

FILE = HERE / "steps.jsonl"
# method, size, images a step on a CPU, on a GPU
CASES = {
  "MAE tiny": ("mae", "tiny", 64, 4096),
  "MAE S": ("mae", "S", 16, 2048),
  "MAE B": ("mae", "B", 8, 1024),
  "MAE L": ("mae", "L", 4, 1024),
  "MAE H": ("mae", "H", 2, 512),
  "SimMIM B": ("simmim", "B", 4, 512),
  "BEiT B": ("beit", "B", 4, 512),
  "I-JEPA B": ("ijepa", "B", 4, 512),
  "SparK B": ("spark", "B", 4, 512),
}
IMAGES = 128  # of noise


def main():
  """Measures all cases, each in a new process."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--only", default=",".join(CASES), help="cases, separated by commas")
  parser.add_argument("--backend", default="cpu", choices=("cpu", "gpu"))
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--case", help=argparse.SUPPRESS)
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = dict(cpu="cpu", gpu="cuda")[options.backend]
  if options.case:
    print(json.dumps(measured(options.case, options.backend, options.rounds)))
    return
  for name in options.only.split(","):
    if row := apart(name, options.backend, options.rounds):
      records.append_row(FILE, options, row, hardware=row["hardware"])
      write()


def apart(name: str, backend: str, rounds: int) -> dict | None:
  """One case in a process of its own; None where it failed, which is said."""
  words = [f"--case={name}", f"--backend={backend}", f"--rounds={rounds}"]
  with tempfile.TemporaryDirectory() as cache:
    place = dict(JAX_COMPILATION_CACHE_DIR=cache, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    done = subprocess.run(
      [sys.executable, __file__, *words],
      env=os.environ | place,
      stdout=subprocess.PIPE,
      text=True,
      check=False,
    )
  if done.returncode:
    print(f"{name}: left out, its process ended with code {done.returncode}", flush=True)
    return None
  row = json.loads(done.stdout.splitlines()[-1])
  print(f"{name}: {in_words(row)}", flush=True)
  return row


def measured(name: str, backend: str, rounds: int) -> dict:
  """The row of one case."""
  import jax

  from experiments import turns
  from mim_jax.devices import program

  on_cpu = backend == "cpu"
  batch = CASES[name][2 if on_cpu else 3]
  with tempfile.TemporaryDirectory() as folder:
    made = prepared(
      *CASES[name][:2], batch, pathlib.Path(folder), "float32" if on_cpu else "bfloat16"
    )
    step = turns.Step(made)
    cold = step.compile_seconds
    jax.clear_caches()
    step.compile()
    product, times, rates = matmul(backend), [], []
    stream = bandwidth(backend)
    for _ in range(rounds):
      rates.append(product())
      times.append(step(1 if on_cpu else 10))
    waits = waiting(step, 3 if on_cpu else 20)
  device = jax.devices()[0]
  peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
  return dict(
    name=name,
    flags=os.environ.get("XLA_FLAGS", ""),
    batch=batch,
    dtype=made.train.dtype,
    seconds=times,
    matmul_flops=rates,
    flops=step.flops / batch,
    bytes_xla=step.program.cost_analysis()["bytes accessed"] / batch,
    bandwidth=stream,
    peak_bytes=peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    planned_bytes=program.memory(step.program),
    compile_seconds=dict(cold=cold, warm=step.compile_seconds),
    data_wait=waits,
    hardware=records.stamp()["hardware"] if on_cpu else device.device_kind,
  )


def prepared(method: str, size: str, batch: int, folder: pathlib.Path, dtype: str):
  """The config of a case, its images being noise of 224 x 224 in `folder`."""
  import numpy as np

  from mim_jax import config as config_lib
  from mim_jax import teachers

  file = folder / "noise.npy"
  noise = np.random.default_rng(0).integers(0, 256, (IMAGES, 224, 224, 3), np.uint8)
  np.save(file, noise)
  made = config_lib.get_config(method, f"size={size},dataset=arrays,path={file},image=224")
  made.train.update(dict(batch_size=batch, steps=10_000, epochs=None, dtype=dtype))
  if "codes" in made.teachers:  # those of a network drawn at random cost as much as a trained one's
    codebook = f"size={size},image=224"
    made.teachers.codes = config_lib.part(
      teachers.Untrained, config="codebook", arg=codebook, whole=True
    )
  return made


def only_normalised(made):
  """The same config, whose images are not cropped in the step."""
  from mim_jax import config as config_lib
  from mim_jax.data.image import augment

  made = made.copy_and_resolve_references()
  with made.unlocked():
    norm = {key: made.data.augment[key] for key in ("mean", "std")}
    made.data.augment = config_lib.part(augment.normalize_only, **norm)
  return made


def matmul(backend: str):
  """A function that measures FLOP/s of a product of two large square matrices."""
  import jax
  import jax.numpy as jnp

  n, dtype, times = (2048, jnp.float32, 1) if backend == "cpu" else (8192, jnp.bfloat16, 20)
  a = jax.random.normal(jax.random.key(0), (n, n), dtype)
  multiply = jax.jit(lambda a: a @ a)
  multiply(a).block_until_ready()

  def rate() -> float:
    began = time.perf_counter()
    for _ in range(times):
      result = multiply(a)
    result.block_until_ready()
    return times * 2 * n**3 / (time.perf_counter() - began)

  return rate


def bandwidth(backend: str) -> float:
  """Bytes a second that a pass over a large array reads and writes, the best of five."""
  import jax
  import jax.numpy as jnp

  x = jnp.zeros(2**26 if backend == "cpu" else 2**30)
  add = jax.jit(lambda x: x + 1.0, donate_argnums=0)
  x, times = add(x), []
  for _ in range(5):
    began = time.perf_counter()
    x = add(x).block_until_ready()
    times.append(time.perf_counter() - began)
  return 2 * x.nbytes / min(times)


def waiting(step, steps: int) -> float:
  """Share of the time of a loop of steps that goes into waiting for a batch and placing it."""
  import jax

  waited, began = 0.0, time.perf_counter()
  for _ in range(steps):
    before = time.perf_counter()
    batch = step.placed(next(step.batches))
    waited += time.perf_counter() - before
    step.state, metrics = step.program(step.state, batch)
  jax.block_until_ready(metrics)
  return waited / (time.perf_counter() - began)


def write() -> None:
  """The newest row of each case, as a table for each backend in README.md."""
  for backend, (rows, said) in records.newest(FILE, "name", "flags").items():
    records.place(HERE / "README.md", f"steps-{backend}", f"{table(rows)}\n\n{said}.")
    roofline.draw(rows, HERE / f"roofline_{backend}.png")


def table(rows: list[dict]) -> str:
  """A row a case."""
  header = ["step", "batch", "ms, median (quartiles)", "images/s", "GFLOP an image"]
  header += ["GFLOP/s", "of the matmul rate", "peak memory", "compile, s (cached)", "data wait"]
  return records.markdown(header, [cells(row) for row in rows])


def cells(row: dict) -> list[str]:
  """The texts of a row."""
  low, middle, high = statistics.quantiles(row["seconds"], n=4)
  rate = row["batch"] / middle
  reached, possible = rate * roofline.flops(row), statistics.median(row["matmul_flops"])
  compile_seconds = row["compile_seconds"]
  return [
    ", ".join(filter(None, (row["name"], row["dtype"], row.get("flags")))),
    f"{row['batch']}",
    f"{1e3 * middle:,.0f} ({1e3 * low:,.0f} to {1e3 * high:,.0f})",
    f"{rate:,.1f}",
    f"{roofline.flops(row) / 1e9:.1f}",
    f"{reached / 1e9:,.0f}",
    f"{100 * reached / possible:.0f} %",
    f"{row['peak_bytes'] / 2**30:.1f} GiB",
    f"{compile_seconds['cold']:.1f} ({compile_seconds['warm']:.1f})",
    f"{100 * row['data_wait']:.1f} %",
  ]


def in_words(row: dict) -> str:
  """The same on one line."""
  return " | ".join(cells(row)[1:])


if __name__ == "__main__":
  main()
