"""Devices as a named mesh (data, fsdp, tensor), and where parameters and batches lie on it."""

import math

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mim_jax.errors import InputError
from mim_jax.train import names

AXES = ("data", "fsdp", "tensor")
REPLICATE = ((".*", "replicate"),)


def make(data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None) -> Mesh:
  """A mesh of the given sizes; one of them may be -1, which takes the devices that are left."""
  devices = jax.devices() if devices is None else devices
  sizes = [data, fsdp, tensor]
  known = math.prod(s for s in sizes if s != -1)
  if sizes.count(-1) == 1 and known > 0 and len(devices) % known == 0:
    sizes[sizes.index(-1)] = len(devices) // known
  if math.prod(sizes) != len(devices) or min(sizes) < 1:
    raise InputError(
      f"train.mesh: data={data}, fsdp={fsdp}, tensor={tensor} do not multiply to the "
      f"{len(devices)} devices here. Use -1 for one of them to take what is left."
    )
  return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Batches are split over data and fsdp along their first axis."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def batch_parts(mesh: Mesh) -> int:
  """Into how many pieces a batch is split."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch(batch_size: int, mesh: Mesh) -> None:
  """InputError unless the global batch divides over the devices that share it."""
  parts = batch_parts(mesh)
  if batch_size % parts:
    low = batch_size // parts * parts
    fits = [n for n in (low, low + parts) if n]
    raise InputError(
      f"train.batch_size: {batch_size} does not divide over {parts} devices (data x fsdp). "
      f"Sizes that fit: {', '.join(map(str, fits))}."
    )


def alone() -> bool:
  """Whether this is the only process of the run."""
  return jax.process_count() == 1


def agreed(number: int = 0) -> int:
  """The largest `number` of all processes; every process must ask, and waits for the others."""
  if alone():
    return number
  with jax.transfer_guard("allow"):
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def state_sharding(state, mesh: Mesh, rules=REPLICATE):
  """A NamedSharding for every leaf, by (regex, word) rules on the name; full cover demanded.

  Words: "replicate"; "fsdp" splits the largest axis that divides; "tensor" splits the last axis (or
  the
  first, where only that divides). Optimizer and teacher follow their parameter, whose name theirs
  ends with.
  """
  words = names.by_rule(rules, state, "train.sharding")
  return jax.tree.map(
    lambda leaf, word: NamedSharding(mesh, _spec(leaf.shape, word, mesh)), state, words
  )


def _spec(shape, word: str, mesh: Mesh) -> PartitionSpec:
  if word == "replicate" or not shape:
    return PartitionSpec()
  if word not in ("fsdp", "tensor"):
    raise InputError(f"train.sharding: {word!r} is unknown. Allowed: replicate, fsdp, tensor.")
  size = mesh.shape[word]
  order = np.argsort(shape, kind="stable")[::-1] if word == "fsdp" else (len(shape) - 1, 0)
  for axis in order:
    if size > 1 and shape[axis] % size == 0:
      return PartitionSpec(*(word if i == axis else None for i in range(len(shape))))
  return PartitionSpec()


def to_devices(batch: dict, mesh: Mesh) -> dict:
  """This process's slice of a host batch -> one global array an entry, split over the mesh."""
  place = batch_sharding(mesh)
  make = jax.make_array_from_process_local_data
  # Of several processes JAX counts this transfer, which is asked for, as an implicit one.
  with jax.transfer_guard("allow"):
    return {k: make(place, np.asarray(v)) for k, v in batch.items()}
