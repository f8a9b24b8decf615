"""The device mesh (data, fsdp, tensor), and the sharding of parameters and batches over it."""

import math

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mim_jax import errors
from mim_jax.errors import InputError
from mim_jax.optim.rules import match_rules

AXES = ("data", "fsdp", "tensor")
REPLICATE = ((".*", "replicate"),)
WORDS = ("replicate", "fsdp", "columns", "rows")


def make(data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None) -> Mesh:
  """Makes a mesh of the given sizes.

  One of them may be -1, which takes the devices that are left.
  """
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
  """Shards batches over data and fsdp along their first axis."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def batch_parts(mesh: Mesh) -> int:
  """Counts the devices that share a batch: data x fsdp."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch(batch_size: int, mesh: Mesh) -> None:
  """Checks that the global batch divides over the devices that share it. Errors: InputError."""
  parts = batch_parts(mesh)
  if batch_size % parts:
    low = batch_size // parts * parts
    fits = [n for n in (low, low + parts) if n]
    raise InputError(
      f"train.batch_size: {batch_size} does not divide over {parts} devices (data x fsdp). "
      f"Sizes that fit: {', '.join(map(str, fits))}."
    )


def is_single_process() -> bool:
  """Tells whether this is the only process of the run."""
  return jax.process_count() == 1


def all_reduce_max(number: int = 0) -> int:
  """Finds the largest `number` of all processes.

  Every process must ask, and waits for the others.
  """
  if is_single_process():
    return number
  with jax.transfer_guard("allow"):
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def state_sharding(state, mesh: Mesh, rules=REPLICATE):
  """Assigns a NamedSharding to every leaf, by (regex, word) rules on the name; full cover demanded.

  Words: "replicate"; "fsdp" splits the largest axis that divides over `fsdp`; "columns" splits the
  last axis besides (what a layer puts out) over `tensor`, and "rows" the last but one (what it
  takes in): column- then row-parallel layers need one all-reduce. Optimizer and teacher follow
  their parameter, whose name theirs ends with.
  """
  words = match_rules(rules, state, "train.sharding")
  return jax.tree.map(
    lambda leaf, word: NamedSharding(mesh, _spec(leaf.shape, word, mesh)), state, words
  )


def _spec(shape, word: str, mesh: Mesh) -> PartitionSpec:
  if word not in WORDS:
    raise errors.unknown("train.sharding", word, WORDS)
  found: list[str | None] = [None] * len(shape)

  def split(name: str, axes) -> None:
    size = mesh.shape[name]
    free = [i for i in axes if i >= 0 and found[i] is None and shape[i] % size == 0]
    if size > 1 and free:
      found[free[0]] = name

  if word in ("columns", "rows"):
    split("tensor", [len(shape) - (1 if word == "columns" else 2)])
  if word != "replicate":
    split("fsdp", np.argsort(shape, kind="stable")[::-1])
  return PartitionSpec(*found) if any(found) else PartitionSpec()


def all_gather_params(tree, like):
  """Gathers arrays that are sharded as `like` along fsdp, as a step uses them.

  Otherwise the compiler may shard activations as the parameters are, and keep them for whole
  batches.
  """

  def gather(x, kept):
    place = kept.sharding
    if place.mesh.shape["fsdp"] == 1:
      return x
    spec = PartitionSpec(*(None if name == "fsdp" else name for name in place.spec))
    return jax.lax.with_sharding_constraint(x, NamedSharding(place.mesh, spec))

  return jax.tree.map(gather, tree, like)


def shard_like(tree, like):
  """Shards arrays as those of `like`."""

  def divide(x, kept):
    split = kept.sharding.mesh.shape["fsdp"] > 1
    return jax.lax.with_sharding_constraint(x, kept.sharding) if split else x

  return jax.tree.map(divide, tree, like)


def to_devices(batch: dict, mesh: Mesh) -> dict:
  """Places this process's slice of a host batch on the mesh: one global array an entry."""
  place = batch_sharding(mesh)
  make = jax.make_array_from_process_local_data
  # Of several processes JAX counts this transfer, which is asked for, as an implicit one.
  with jax.transfer_guard("allow"):
    return {k: make(place, np.asarray(v)) for k, v in batch.items()}
