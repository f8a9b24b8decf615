"""`mim-jax doctor`: the state of the installation."""

import argparse
import os
import pathlib
import shutil

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Shows versions, devices, disk, data folders.

  Problems with their remedy (exit code 1 if any).
  """
  parser().parse_args(argv)
  problems: list[str] = []
  for title, look in (("versions", versions), ("devices", devices), ("disk", disk), ("data", data)):
    print(title)
    for line in look(problems):
      print(f"  {line}")
  print("\nall is well" if not problems else "\nto mend:")
  for problem in problems:
    print(f"  - {problem}")
  return 1 if problems else 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax doctor`, which has no options."""
  text = "Look at this machine: versions, devices, disk, data; say what would fail."
  return arguments.parser("doctor", "[--help]", text, "mim-jax doctor")


def versions(problems: list[str]) -> list[str]:
  """Shows versions of Python and libraries."""
  from mim_jax import run

  found = run.versions()
  for name, version in found.items():
    if version == "not installed":
      problems.append(f"{name} is not installed: pip install mim-jax")
  return [f"{name} {version}" for name, version in found.items()]


def devices(problems: list[str]) -> list[str]:
  """Shows what JAX sees, with memory where it says."""
  import jax

  try:
    found = jax.devices()
  except RuntimeError as error:
    problems.append(f"JAX finds no device ({error}); set JAX_PLATFORMS=cpu to use the processor")
    return []
  lines = []
  for device in found:
    memory = (device.memory_stats() or {}).get("bytes_limit")
    lines.append(
      f"{device.device_kind} {device.id}" + (f", {memory / 2**30:.1f} GiB" if memory else "")
    )
  if shutil.which("nvidia-smi") and found[0].platform == "cpu":
    problems.append('an NVIDIA GPU is here but JAX does not use it: pip install "jax[cuda13]"')
  return lines


def disk(problems: list[str]) -> list[str]:
  """Shows free space for run folders here."""
  free = shutil.disk_usage(".").free / 2**30
  if free < 5:
    problems.append(f"only {free:.1f} GiB free here: checkpoints of large models need more")
  if not os.access(".", os.W_OK):
    problems.append("this folder can't be written: give --workdir elsewhere")
  return [f"{free:.0f} GiB free in {pathlib.Path.cwd()}"]


def data(problems: list[str]) -> list[str]:
  """Shows the embedded set, and TFDS sets that are prepared."""
  folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
  prepared = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
  shown = ", ".join(prepared) or "none prepared"
  return ["digits: embedded, nothing to do", f"TFDS in {folder}: {shown}"]
