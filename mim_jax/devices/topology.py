"""Ahead-of-time compilation for other machines: memory, collectives and FLOPs of a step there."""

import collections
import functools
import importlib.util
import math
import os
import re
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies

from mim_jax import errors
from mim_jax.devices import program


class Chip(NamedTuple):
  """Describes a kind of TPU.

  Attributes: memory in bytes, cores that the slice's name counts a chip, axes of a slice, and how
  its cores are joined.
  """

  memory: int
  counted: int
  axes: int
  cores: str = "default"


# Memory and names: cloud.google.com/tpu/docs, pages v4, v5e, v5p and v6e.
CHIPS = dict(
  v4=Chip(32 * 2**30, 2, 3, "megacore"),  # both cores are one device, as JAX sees them on a TPU
  v5e=Chip(16 * 2**30, 1, 2),
  v5p=Chip(95 * 2**30, 2, 3),
  v6e=Chip(32 * 2**30, 1, 2),
)
# Memory by the data sheets, of which JAX takes three quarters unless told otherwise.
GPUS = dict(a100=80 * 10**9 * 3 // 4, h100=80 * 10**9 * 3 // 4, h200=141 * 10**9 * 3 // 4)
GPU_NOTE = (
  "XLA compiles for a GPU only where one is (github.com/jax-ml/jax/issues/23971), so this is the "
  "program that the CPU's compiler makes for as many devices: state and partition are the same, "
  "work memory and the joining of collectives may differ."
)
# libtpu would ask the metadata server of a TPU machine, and allow one process a machine.
WITHOUT_TPU = dict(
  TPU_SKIP_MDS_QUERY="1",
  TPU_ACCELERATOR_TYPE="v5litepod-8",
  TPU_WORKER_HOSTNAMES="localhost",
  ALLOW_MULTIPLE_LIBTPU_LOAD="1",
)
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_WIDTH = dict(pred=1, s8=1, u8=1, bf16=2, f16=2, s16=2, u16=2, s32=4, u32=4, f32=4, s64=8, f64=8)


def devices(name: str) -> tuple[list, int | None]:
  """Makes (devices that stand for the machine `name`, bytes of memory of each or None).

  "v5e-256" and its like need the TPU compiler (libtpu), but no TPU; "h100-64" and "cpu-8" simulate
  devices, with the host's compiler. Must come before anything else asks for devices. Errors:
  InputError.
  """
  kind, _, count = name.partition("-")
  if kind not in (*CHIPS, *GPUS, "cpu") or not count.isdigit() or int(count) < 1:
    raise errors.unknown(
      "--topology",
      name,
      [f"{k}-N" for k in (*CHIPS, *GPUS, "cpu")],
      "N as in v5e-256, v5p-128, h100-64, cpu-8.",
    )
  jax.config.update("jax_platforms", "cpu")
  if kind not in CHIPS:
    jax.config.update("jax_num_cpu_devices", int(count))
    return jax.devices(), GPUS.get(kind)
  if importlib.util.find_spec("libtpu") is None:
    raise errors.InputError(
      f"--topology={name}: the TPU compiler is not installed. It runs on any Linux machine: "
      "pip install 'mim-jax[tpu]'. Without it --topology=cpu-8 shows collectives and memory as the "
      "CPU's compiler sees them."
    )
  return tpu_slice(name, CHIPS[kind], int(count)), CHIPS[kind].memory


def tpu_slice(name: str, chip: Chip, count: int) -> list:
  """Makes the devices of a TPU slice, known to the compiler alone. Errors: InputError."""
  for key, value in WITHOUT_TPU.items():
    os.environ.setdefault(key, value)
  shape = slice_shape(count // chip.counted, chip.axes)
  host = [min(n, 2) for n in shape] + [1] * (3 - len(shape))  # at most 2 x 2 chips
  host[2] = 1
  try:
    return list(
      topologies.get_topology_desc(
        f"{name.partition('-')[0]}:{'x'.join(map(str, shape))}",
        platform="tpu",
        chip_config_name=chip.cores,
        chips_per_host_bounds=tuple(host),
      ).devices
    )
  except Exception as error:
    raise errors.InputError(
      f"--topology={name}: the TPU compiler knows no such slice ({shape}; {error})."
    ) from error


def slice_shape(chips: int, axes: int) -> tuple[int, ...]:
  """Counts chips along each axis of a slice, as even as powers of 2 can be, shortest first.

  Errors: InputError unless `chips` is a power of 2.
  """
  if chips < 1 or chips & (chips - 1):
    raise errors.InputError(f"--topology: {chips} chips are not a power of 2.")
  power = chips.bit_length() - 1
  sizes = [2 ** (power // axes + (i < power % axes)) for i in range(axes)]
  return tuple(sorted(sizes, reverse=True)) if chips <= 4 else tuple(sorted(sizes))


def compile_only(trainable, limit: int | None) -> dict:
  """Compiles the step for the trainable's devices: memory, collectives and FLOPs of it.

  Errors: InputError with what would fit, if it needs more than `limit` bytes of a device.
  """
  state = trainable.abstract_state()
  row = trainable.spec.data.train[np.zeros(1, np.int64)]
  lowered = program.lower_update(trainable, state, row)
  update = compiled(trainable, state, lowered, limit)
  program.check_memory(trainable, update, limit)
  counted, shape = program.flops(lowered), trainable.spec.mesh.shape
  whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  return dict(
    devices=trainable.spec.mesh.size,
    memory=program.memory(update),
    ideal=math.ceil(whole / (shape["fsdp"] * shape["tensor"])),
    flops=counted and counted / trainable.spec.mesh.size,
    flops_by_xla=float((update.cost_analysis() or {}).get("flops", math.nan)),
    collectives=collectives(update.as_text()),
  )


def compiled(trainable, state, lowered, limit: int | None):
  """Compiles the program.

  A TPU's compiler itself refuses what does not fit, which becomes an InputError.
  """
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error) or limit is None:
      raise
    own = sum(
      math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(state)
    )
    need = dict(state=own, work=asked_for(str(error), own))
    raise errors.InputError(
      program.too_large(trainable, need, limit)
      if need["work"] > 0
      else f"the step does not fit devices of {program.in_gib(limit)} ({error}). Try half the "
      f"batch, or {program.REMEDIES}."
    ) from error


def asked_for(text: str, own: int) -> int:
  """Parses bytes besides the `own` of the state from a TPU compiler's message; 0 without any."""
  unit = dict(K=2**10, M=2**20, G=2**30, T=2**40)
  if found := re.search(r"temporaries \(([\d.]+)([KMGT])\)", text):
    return int(float(found[1]) * unit[found[2]])
  if found := re.search(r"Used ([\d.]+)([KMGT]) of", text):
    return int(float(found[1]) * unit[found[2]]) - own
  return 0


def collectives(text: str) -> dict[str, tuple[int, int]]:
  """Counts {kind: (number a step, bytes of their results on one device)} in a compiled program.

  One inside a loop over blocks counts once for every block.
  """
  found, size = collections.Counter[str](), collections.Counter[str]()
  times = how_often(text)
  name = ""
  for line in text.splitlines():
    name = _computation(line) or name
    operation = re.search(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(", line)
    if operation is None:
      continue
    types, kind, begins = operation.groups()
    shapes = [(t, dims) for t, dims in re.findall(r"(\w+)\[([\d,]*)\]", types)]
    if begins and kind in ("all-gather", "collective-permute"):  # operands stand before results
      shapes = [s for s in shapes if s[1]]
      shapes = shapes[len(shapes) // 2 :]
    count = times.get(name, 1)
    found[kind] += count
    size[kind] += count * sum(
      _WIDTH.get(dtype, 4) * math.prod(int(n) for n in dims.split(",") if n)
      for dtype, dims in shapes
    )
  return {kind: (found[kind], size[kind]) for kind in KINDS if found[kind]}


def how_often(text: str) -> dict[str, int]:
  """Counts how often a step runs each computation of a program; loops of unknown length once."""
  callers, bounds = collections.defaultdict[str, list](list), dict[str | None, int]()
  name = entry = ""
  for line in text.splitlines():
    name = _computation(line) or name
    entry = name if line.startswith("ENTRY") else entry
    if bound := re.search(r"= s32\[\]\S* constant\((\d+)\)", line):
      bounds[name] = int(bound[1])  # in the condition of a loop: what its counter stays below
    if re.search(r"-(done|update)\(", line):  # names what its -start has called
      continue
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
    loop = re.search(r"condition=%?([\w.-]+)", line)
    for called in re.findall(r"(?:body|calls|to_apply)=%?([\w.-]+)", line):
      turns = int(known[1]) if known else None
      callers[called].append((name, turns, loop[1] if loop else None))

  @functools.cache
  def times(name):
    runs = (times(by) * (n or bounds.get(loop, 1)) for by, n, loop in callers[name])
    return sum(runs) + (name == entry)

  return {called: times(called) for called in (*list(callers), entry)}


def _computation(line: str) -> str | None:
  """Parses the name of the computation that a line of a program begins, if it does."""
  begins = re.match(r"(?:ENTRY )?%?([\w.-]+) .*\{$", line)
  return begins[1] if begins and not line.startswith("HloModule") else None


def in_words(name: str, facts: dict, axes) -> str:
  """Describes what `compile_only` found, for a person."""
  memory = facts["memory"]
  lines = [
    f"{name}: {facts['devices']} devices as " + ", ".join(f"{k} {v}" for k, v in axes.items()),
    f"memory of each    {program.in_gib(memory['state'])} state and batch, "
    f"{program.in_gib(memory['work'])} work (the state evenly divided: "
    f"{program.in_gib(facts['ideal'])})",
    f"FLOPs of each     {facts['flops_by_xla']:.3g} a step as XLA counts, a loop once"
    + (f"; {facts['flops']:.3g} as traced" if facts["flops"] else ""),
  ]
  for kind, (count, size) in facts["collectives"].items():
    lines.append(f"{kind:<17} {count} a step, {program.in_gib(size)}")
  return "\n".join([*lines, *([GPU_NOTE] if name.partition("-")[0] in GPUS else [])])
