"""Everything that is to be measured on a GPU, in one call of ten minutes, or in several.

Run: python experiments/throughput/gpu.py [--minutes=9] [--only=STAGE,...] [--photos=DIR]

As long as time is left: "attention" alone at the lengths that occur; "steps" of every method;
"against" PyTorch's (where torch with CUDA is installed); "flags" of XLA on the step of MAE L;
"switches", choices on and off; the "loop" on photos. What is stopped keeps the rows it has. With
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


FLAGS = (
  "--xla_gpu_enable_latency_hiding_scheduler=true",
  "--xla_gpu_enable_triton_gemm=false",
  "--xla_gpu_enable_command_buffer=",
)


def main():
  """Runs the stages one after the other."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--minutes", type=float, default=9.0)
  parser.add_argument("--only", default="", help="stages, separated by commas; default: all")
  parser.add_argument("--backend", default="gpu", choices=("cpu", "gpu"))
  parser.add_argument("--photos", help="a folder of JPEG files, for the loop")
  parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = dict(cpu="cpu", gpu="cuda")[options.backend]
  if options.backend == "cpu":
    os.environ["REHEARSAL"] = "1"
  if options.alone:
    attention(options.backend)
    return
  end = time.monotonic() + 60 * options.minutes
  wanted = options.only.split(",") if options.only else None
  for stage, (script, *words), flags in stages(options):
    if wanted is None or stage in wanted:
      command = [sys.executable, str(HERE / script), *words, f"--backend={options.backend}"]
      print(f"{script} {' '.join(words)} {flags}: {ended(command, flags, end)}", flush=True)


def ended(command: list[str], flags: str, end: float) -> str:
  """How a command ended that is stopped at `end`."""
  left = end - time.monotonic()
  if left < 30:
    return "no time left"
  try:
    given = os.environ | dict(XLA_FLAGS=flags)
    return f"exit code {subprocess.run(command, timeout=left, check=False, env=given).returncode}"
  except subprocess.TimeoutExpired:
    return "stopped, the time is over"


def stages(options) -> list[tuple[str, list[str], str]]:
  """(stage, script with its words, XLA's flags), most wanted first."""
  gpu = options.backend == "gpu"
  size, some = ("L", "--rounds=3") if gpu else ("tiny", "--rounds=2")
  steps = "MAE B,MAE L,MAE H,SimMIM B,BEiT B,I-JEPA B,SparK B" if gpu else "MAE tiny"
  found = [
    ("attention", ["gpu.py", "--alone"], ""),
    ("steps", ["steps.py", f"--only={steps}", some], ""),
  ]
  if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
    sizes = "B,L,H" if gpu else "tiny"
    found.append(("against", ["against.py", f"--sizes={sizes}", "--kinds=MAE", some], ""))
  for flags in FLAGS if gpu else ("--xla_cpu_enable_fast_math=true",):
    found.append(("flags", ["steps.py", f"--only=MAE {size}", some], flags))
  found.append(("switches", ["switches.py", f"--size={size}", some], ""))
  if options.photos:
    words = ["loop.py", f"--size={size}", f"--photos={options.photos}", some]
    found.append(("loop", words, ""))
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
