"""Machines that are not here: the step compiled ahead of time, and what it would need there."""

import collections
import importlib.util
import math
import os
import re
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies

from mim_jax import errors
from mim_jax.train import program


class Chip(NamedTuple):
  """Attributes: memory in bytes, cores that the slice's name counts a chip, axes of a slice."""

  memory: int
  counted: int
  axes: int


# Memory and names: cloud.google.com/tpu/docs, pages v4, v5e, v5p and v6e.
CHIPS = dict(
  v4=Chip(32 * 2**30, 2, 3),
  v5e=Chip(16 * 2**30, 1, 2),
  v5p=Chip(95 * 2**30, 2, 3),
  v6e=Chip(32 * 2**30, 1, 2),
)
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_WIDTH = dict(pred=1, s8=1, u8=1, bf16=2, f16=2, s16=2, u16=2, s32=4, u32=4, f32=4, s64=8, f64=8)


def devices(name: str) -> tuple[list, int | None]:
  """(devices that stand for the slice `name`, bytes of memory of each or None).

  "v5e-256" and its like need the TPU compiler (libtpu), but no TPU; "cpu-8" simulates devices, with
  the host's compiler. Must come before anything else asks for devices. Errors: InputError.
  """
  kind, _, count = name.partition("-")
  if kind not in (*CHIPS, "cpu") or not count.isdigit() or int(count) < 1:
    raise errors.unknown(
      "--topology", name, [*(f"{k}-N" for k in CHIPS), "cpu-N"], "N as in v5e-256, v5p-128, cpu-8."
    )
  jax.config.update("jax_platforms", "cpu")
  if kind == "cpu":
    jax.config.update("jax_num_cpu_devices", int(count))
    return jax.devices(), None
  if importlib.util.find_spec("libtpu") is None:
    raise errors.InputError(
      f"--topology={name}: the TPU compiler is not installed. It runs on any Linux machine: "
      'pip install "jax[tpu]". Without it --topology=cpu-8 shows collectives and memory as the '
      "CPU's compiler sees them."
    )
  chip = CHIPS[kind]
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server to be asked
  shape = "x".join(map(str, slice_shape(int(count) // chip.counted, chip.axes)))
  try:
    found = topologies.get_topology_desc(f"{kind}:{shape}", platform="tpu").devices
  except Exception as error:
    raise errors.InputError(
      f"--topology={name}: the TPU compiler knows no such slice ({kind}:{shape}; {error})."
    ) from error
  return list(found), chip.memory


def slice_shape(chips: int, axes: int) -> tuple[int, ...]:
  """Chips along each axis of a slice, as even as powers of 2 can be, shortest first.

  Errors: InputError unless `chips` is a power of 2.
  """
  if chips < 1 or chips & (chips - 1):
    raise errors.InputError(f"--topology: {chips} chips are not a power of 2.")
  power = chips.bit_length() - 1
  sizes = [2 ** (power // axes + (i < power % axes)) for i in range(axes)]
  return tuple(sorted(sizes, reverse=True)) if chips <= 4 else tuple(sorted(sizes))


def compile_only(experiment, limit: int | None) -> dict:
  """Compiles the step for the experiment's devices: memory, collectives and FLOPs of it.

  Errors: InputError with what would fit, if it needs more than `limit` bytes of a device.
  """
  state = experiment.abstract_state()
  whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  row = experiment.data.train[np.zeros(1, np.int64)]
  update = program.lower_update(experiment, state, row).compile()
  program.check_memory(experiment, update, limit)
  analysis = update.cost_analysis() or {}
  return dict(
    devices=experiment.mesh.size,
    memory=program.memory(update),
    ideal=math.ceil(whole / (experiment.mesh.shape["fsdp"] * experiment.mesh.shape["tensor"])),
    flops_per_device=float(analysis.get("flops", math.nan)),
    collectives=collectives(update.as_text()),
  )


def collectives(text: str) -> dict[str, tuple[int, int]]:
  """{kind: (how many, their bytes on one device)} of a compiled program.

  As they stand in the program: one inside a loop over blocks counts once.
  """
  found = collections.Counter[str]()
  size = collections.Counter[str]()
  for types, kind in re.findall(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(", text):
    shapes = re.findall(r"(\w+)\[([\d,]*)\]", types)
    found[kind] += 1
    size[kind] += sum(
      _WIDTH.get(dtype, 4) * math.prod(int(n) for n in dims.split(",") if n)
      for dtype, dims in shapes
    )
  return {kind: (found[kind], size[kind]) for kind in KINDS if found[kind]}


def in_words(name: str, facts: dict, axes) -> str:
  """What `compile_only` found, for a person."""
  memory = facts["memory"]
  lines = [
    f"{name}: {facts['devices']} devices as " + ", ".join(f"{k} {v}" for k, v in axes.items()),
    f"memory of each    {program.in_gib(memory['state'])} state and batch, "
    f"{program.in_gib(memory['work'])} work (the state evenly divided: "
    f"{program.in_gib(facts['ideal'])})",
    f"FLOPs of each     {facts['flops_per_device']:.3g} a step",
  ]
  for kind, (count, size) in facts["collectives"].items():
    lines.append(f"{kind:<17} {count} in the program, {program.in_gib(size)}")
  return "\n".join(lines)
