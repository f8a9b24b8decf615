"""Everything that is to be measured on a GPU, in one call.

Run: python experiments/throughput/gpu.py [--minutes=9] [--backend=gpu] [--photos=DIR]

In this order, as long as time is left: attention alone at the lengths that occur, the step of every
method, ours beside PyTorch's (where torch with CUDA is installed), choices, and the loop. With
--backend=cpu it is a rehearsal in miniature, whose numbers mean nothing and are not kept.
"""

import argparse
import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments import records  # noqa: E402

FILE = HERE / "attention.jsonl"
# tokens, heads, width of a head: encoder of B, L and H at 75 %, decoder, all tokens of B and H
SHAPES = ((50, 12, 64), (50, 16, 64), (65, 16, 80), (197, 16, 32), (197, 12, 64), (257, 16, 80))


def main():
  """Runs the stages one after the other."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--minutes", type=float, default=9.0)
  parser.add_argument("--backend", default="gpu", choices=("cpu", "gpu"))
  parser.add_argument("--photos", help="a folder of JPEG files, for the loop")
  parser.add_argument("--stage", help=argparse.SUPPRESS)
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = dict(cpu="cpu", gpu="cuda")[options.backend]
  if options.backend == "cpu":
    os.environ["REHEARSAL"] = "1"
  if options.stage:
    attention(options.backend)
    return
  end = time.monotonic() + 60 * options.minutes
  for script, *words in stages(options):
    left = end - time.monotonic()
    command = [sys.executable, str(HERE / script), *words, f"--backend={options.backend}"]
    if left < 30:
      print(f"no time left for {script} {' '.join(words)}", flush=True)
      continue
    try:
      code = subprocess.run(command, timeout=left, check=False).returncode
      print(f"{script} {' '.join(words)}: exit code {code}", flush=True)
    except subprocess.TimeoutExpired:
      print(f"{script} {' '.join(words)}: stopped, the time is over", flush=True)


def stages(options) -> list[list[str]]:
  """Scripts with their words, most wanted first."""
  gpu = options.backend == "gpu"
  sizes = "B,L,H" if gpu else "tiny"
  steps = "MAE B,MAE L,MAE H,SimMIM B,BEiT B,I-JEPA B,SparK B" if gpu else "MAE tiny"
  found = [["gpu.py", "--stage=attention"], ["steps.py", f"--only={steps}", "--rounds=3"]]
  if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
    found.append(["against.py", f"--sizes={sizes}", "--kinds=MAE", "--rounds=3"])
  size = "L" if gpu else "tiny"
  found.append(["switches.py", f"--size={size}", "--rounds=3"])
  if options.photos:
    found.append(["loop.py", f"--size={size}", f"--photos={options.photos}", "--rounds=3"])
  return found


def attention(backend: str) -> None:
  """Times forward and backward of attention alone, by XLA and (GPU) by cuDNN; appends a record."""
  import jax
  import jax.numpy as jnp

  from mim_jax.ops import attention as ops

  gpu = backend == "gpu"
  rows = []
  for n, heads, width in SHAPES:
    b = 512 if gpu else 4
    shape, dtype = (b, n, heads, width), jnp.bfloat16 if gpu else jnp.float32
    inputs = [jax.random.normal(jax.random.key(i), shape, dtype) for i in range(3)]
    for name in ("xla", "cudnn") if gpu else ("xla",):

      def loss(query, key, value, name=name):
        mixed = ops.attend(query, key, value, implementation=name)
        return jnp.sum(jnp.square(mixed.astype(jnp.float32)))

      step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
      jax.block_until_ready(step(*inputs))
      times = []
      for _ in range(5):
        began = time.perf_counter()
        for _ in range(10 if gpu else 1):
          found = step(*inputs)
        jax.block_until_ready(found)
        times.append((time.perf_counter() - began) / (10 if gpu else 1))
      rows.append(dict(tokens=n, heads=heads, width=width, batch=b, name=name, seconds=times))
      print(f"attention {n} x {heads} x {width}, {name}: {1e3 * statistics.median(times):.2f} ms")
  device = jax.devices()[0].device_kind
  records.append(FILE, dict(**records.stamp(), backend=backend, device=device, rows=rows))


if __name__ == "__main__":
  main()
