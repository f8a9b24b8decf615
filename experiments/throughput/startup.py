"""How long until something happens: imports, help, and the compilation of a large step.

Run: python experiments/throughput/startup.py [--rounds=5] [--size=L]

Every measurement is a process of its own. The step is that of MAE with scan, compiled cold and then
again from the compilation cache. Appends to startup.jsonl and writes the table of README.md.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402

FILE = HERE / "startup.jsonl"
COMMANDS = {
  "import mim_jax": ["-c", "import mim_jax"],
  "mim-jax --help": ["-m", "mim_jax", "--help"],
  "mim-jax train --help": ["-m", "mim_jax", "train", "--help"],
  "mim-jax methods": ["-m", "mim_jax", "methods"],
}
COMPILE = """
import sys, time
from mim_jax import config, experiment
from mim_jax.devices import compilation_cache
from mim_jax.devices import program
assert compilation_cache.start()
c = config.get_config("mae", f"dataset=embedded,size={sys.argv[1]},image=224")
c.train.update(dict(steps=10, epochs=None, batch_size=16))
c.parts.encoder.stack.scan = c.parts.predictor.stack.scan = True
one = experiment.build(c)
batch, abstract = next(one.spec.batches()), one.trainable.abstract_state()
began = time.perf_counter()
program.compile_update(one.trainable, abstract, batch)
print(time.perf_counter() - began)
"""


def main():
  """Measures all and writes what came out."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--size", default="L")
  options = parser.parse_args()
  seconds = {name: [] for name in COMMANDS}
  for _ in range(options.rounds):
    for name, words in COMMANDS.items():
      began = time.perf_counter()
      python(*words)
      seconds[name].append(time.perf_counter() - began)
  with tempfile.TemporaryDirectory() as folder:
    for state in ("cold", "from the cache"):
      name = f"compile a step of MAE {options.size} with scan, {state}"
      taken = python("-c", COMPILE, options.size, JAX_COMPILATION_CACHE_DIR=f"{folder}/xla")
      seconds[name] = [float(taken.splitlines()[-1])]
  record = dict(**records.stamp(), seconds=seconds, load=os.getloadavg()[0])
  records.append(FILE, record)
  write()


def python(*words: str, **environment: str) -> str:
  """What a new Python process prints."""
  done = subprocess.run(
    [sys.executable, *words],
    env=os.environ | environment,
    cwd=HERE.parents[1],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return done.stdout


def write() -> None:
  """The newest record, as a table in README.md."""
  record = records.read(FILE)[-1]
  rows = [[name, f"{statistics.median(values):.1f}"] for name, values in record["seconds"].items()]
  where = (
    f"{record['date']}, commit {record['commit']}, {record['hardware']}; medians of processes."
  )
  text = f"{records.markdown(['what', 'seconds'], rows)}\n\n{where}"
  records.place(HERE / "README.md", "startup", text)


if __name__ == "__main__":
  main()
