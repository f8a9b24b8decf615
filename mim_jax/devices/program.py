"""The compiled training step: one program a run, its cost, and whether it fits the device."""

import contextlib
import re

import jax
import numpy as np

from mim_jax.devices import mesh
from mim_jax.errors import InputError

REMEDIES = (
  "split the state (--config.train.mesh.fsdp=-1 --config.train.mesh.data=1), recompute activations "
  "(--config.parts.encoder.stack.remat=full), or compute in bfloat16 "
  "(--config.train.dtype=bfloat16)"
)


def compile_update(trainable, abstract, batch: dict):
  """Compiles the update for this state and batch, state donated, metrics replicated."""
  return compiled(trainable, lower_update(trainable, abstract, batch))


def compiled(trainable, lowered):
  """Compiles what `lower_update` has traced; InputError if it needs more memory than there is."""
  with telling_memory(trainable):
    program = lowered.compile()
  check_memory(trainable, program, memory_limit(trainable.spec.mesh))
  return program


def lower_update(trainable, abstract, batch: dict):
  """Traces the update for this state and batch, to be compiled."""
  place = mesh.batch_sharding(trainable.spec.mesh)
  rows = trainable.spec.config.train.batch_size
  specs = {
    k: jax.ShapeDtypeStruct((rows, *np.shape(v)[1:]), np.asarray(v).dtype, sharding=place)
    for k, v in batch.items()
  }
  shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
  step = jax.jit(trainable.update, donate_argnums=0, out_shardings=(shardings, None))
  return step.lower(abstract, specs)


def flops(lowered) -> float | None:
  """Counts floating-point operations of one step, over all devices, as XLA does; None if unknown.

  Counted before it is compiled: of a compiled step XLA leaves out what a GPU's libraries compute,
  which is nearly all.
  """
  analysis = lowered.cost_analysis()
  return float(analysis["flops"]) if analysis and "flops" in analysis else None


def memory_limit(devices) -> int | None:
  """Reads the bytes that a device has for arrays; None where it does not say (a CPU)."""
  local = devices.local_devices
  return (local[0].memory_stats() or {}).get("bytes_limit") if local else None


def memory(program) -> dict[str, int]:
  """Measures bytes on one device: `state` (arguments, with the batch) and `work` (all besides)."""
  found = program.memory_analysis()
  extra = found.output_size_in_bytes - found.alias_size_in_bytes
  return dict(
    state=found.argument_size_in_bytes,
    work=found.temp_size_in_bytes + extra + found.generated_code_size_in_bytes,
  )


def check_memory(trainable, program, limit: int | None) -> None:
  """Checks that a device has the bytes the program needs; InputError with what would fit."""
  if limit is None:
    return
  need = memory(program)
  if need["state"] + need["work"] > limit:
    raise InputError(too_large(trainable, need, limit))


def too_large(trainable, need: dict[str, int], limit: int) -> str:
  """Says what is needed, what there is, and the largest batch that would fit."""
  rows, parts = trainable.spec.config.train.batch_size, mesh.batch_parts(trainable.spec.mesh)
  each = need["work"] / max(rows // parts, 1)
  fits = int(max(limit - need["state"], 0) / max(each, 1)) * parts
  remedy = (
    f"A batch of about {fits} would fit: --config.train.batch_size={fits}. Or"
    if 0 < fits < rows
    else "No batch would fit; the state alone is too large:"
  )
  return (
    f"train.batch_size: {rows} samples need {in_gib(need['state'] + need['work'])} on each device, "
    f"which has {in_gib(limit)}: {in_gib(need['state'])} for parameters, optimizer and teacher, "
    f"{in_gib(each)} a sample for activations. {remedy} {REMEDIES}."
  )


@contextlib.contextmanager
def telling_memory(trainable, program=None):
  """Turns a device or host that runs out of memory into an InputError with remedies."""
  try:
    yield
  except MemoryError as error:
    raise InputError(
      "the host is out of memory while it reads data. Read fewer batches ahead "
      "(--config.train.threads=1), or make samples smaller."
    ) from error
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    limit = memory_limit(trainable.spec.mesh)
    if program is not None and limit:
      raise InputError(too_large(trainable, memory(program), limit)) from error
    asked = re.search(r"allocat\w* (\d[\d.]* ?[KMGT]?i?B|\d+ bytes)", str(error))
    raise InputError(
      f"train.batch_size: {trainable.spec.config.train.batch_size} samples do not fit the device"
      f"{f' (it could not give {asked.group(1)})' if asked else ''}. Try half as many, or "
      f"{REMEDIES}."
    ) from error


def in_gib(size: float) -> str:
  """Formats bytes as GiB."""
  return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
