"""Encoders as functions of raw batches, for evaluations. Letters: b batch, n tokens, d width."""

import copy
import functools
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mim_jax import config as config_lib
from mim_jax import core
from mim_jax.errors import InputError
from mim_jax.weights import adapt, native
from mim_jax.weights.parts import parts_of
from mim_jax.weights.parts import settings as settings_of

POOLS = ("mean", "class", "both", "tokens")
PLACED = ("sincos", "learned")  # positions that belong to the grid of the training images


class EncoderProgram:
  """An encoder of raw batches without weights: a config's parts and its view; compiled once.

  Attributes:
    config: `parts`, `encode`, `data.view`, `modality` of a config; references resolved.
    parts: the Linen module.
    encode: function(parts, viewed batch, layers=None) -> Latents of whole images.
    mesh: where batches are split over data x fsdp, None for one device.
    compiled: functions that evaluations have compiled for it, by their own keys.
  """

  def __init__(self, config, mesh: Mesh | None = None):
    """Builds the nodes of `config`."""
    self.config, self.mesh = config, mesh
    self.compiled: dict = {}
    self.parts = parts_of(config)
    allow = tuple(config.get("allow_modules", ()))
    self._view = config_lib.build(config.data.view, allow, "data.view")
    self._modality = config_lib.build(config.modality, allow, "modality")
    self.encode = config_lib.build(config.encode, allow, "encode")
    self.read = jax.jit(self._read, static_argnames=("layer", "pool", "last"))

  def view(self, batch: dict, size: int = 0) -> dict:
    """Makes the evaluation view of a raw batch; `size`: side in pixels, 0 that of the config."""
    other = dict(size=(size, size)) if size else {}
    return self._view({k: jnp.asarray(v) for k, v in batch.items()}, **other)

  def latents(self, variables: dict, view: dict, layers=None, key=None):
    """Encodes a view (pure): Latents, with `layers` a list; `key` makes drop path active."""
    return self.parts.apply(
      variables,
      method=lambda parts: self.encode(parts, view, layers=layers),
      rngs=None if key is None else {"dropout": key},
    )

  def _read(self, variables, batch, layer=None, pool: str | None = None, last: int = 1):
    return self.pooled(variables, self.view(batch), layer, pool, last)

  def pooled(self, variables, view, layer=None, pool: str | None = None, last: int = 1, key=None):
    """Encodes and pools a view (pure): [b e] or [b n e]; `last` layers are concatenated."""
    layers = up_to(layer, last)
    found: Any = self.latents(variables, view, layers, key)
    found = found if layers else [found]
    return jnp.concatenate([pooled(latents, pool) for latents in found], -1)

  def init(self, key, view: dict) -> dict:
    """Draws the variables of the parts that encoding uses, untrained."""
    return dict(
      self.parts.init(
        {"params": key, "dropout": key}, method=lambda parts: self.encode(parts, view)
      )
    )

  def plain(self, batch, layer=None, pool=None, last=1, size=0) -> np.ndarray:
    """Flattens the view, a baseline that learns nothing: one vector [b e], or its patches."""
    patch = self.config.parts.tokenizer.patch if pool == "tokens" else 0
    return np.asarray(self._plain(batch, size, patch))

  @functools.cached_property
  def _plain(self):
    def read(batch, size, patch):
      return self._modality.plain(self.view(batch, size), patch)

    return jax.jit(read, static_argnums=(1, 2))

  def placed(self, batch: dict) -> dict:
    """Puts a host batch on the devices, sharded where it divides."""
    if self.mesh is None:
      return batch
    count = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
    rows = len(next(iter(batch.values())))
    split = PartitionSpec(("data", "fsdp")) if rows % count == 0 else PartitionSpec()
    return jax.device_put(batch, NamedSharding(self.mesh, split))


class Encoder:
  """An encoder with weights: encode(batch, ...) -> numpy features [b e] or [b n e].

  layer: 1 = after the first block, -1 or None = the last. pool: "mean" over patches, "class" token,
  "both", or all "tokens". last: the last n layers up to `layer`, concatenated. size: side in pixels
  of the view, 0 for that of the config; positions are interpolated (see weights/adapt.py).

  Attributes:
    program: all but the weights, shared among Encoders.
    variables: {"params": ..., other collections}.
  """

  def __init__(self, program: EncoderProgram, variables: dict):
    """Joins a program and weights."""
    self.program, self.variables = program, variables
    self._sizes: dict[int, Encoder] = {}

  def __call__(self, batch, layer=None, pool="mean", last=1, size=0) -> np.ndarray:
    """Encodes a raw batch, see the class."""
    there = self.at_resolution(size)
    batch = there.program.placed(batch)
    found = there.program.read(there.variables, batch, layer=layer, pool=pool, last=last)
    return jax.device_get(found)

  def with_variables(self, variables: dict) -> "Encoder":
    """Makes the same encoder with other weights; nothing is recompiled."""
    return Encoder(self.program, variables)

  def at_resolution(self, size: int) -> "Encoder":
    """Makes the same encoder for views of another side in pixels; 0 is this one.

    Errors: InputError where the side is no whole number of patches.
    """
    if not size or (size, size) == tuple(self.program.config.data.view.size):
      return self
    if size not in self._sizes:
      config, variables = resized(self.program.config, self.variables, size)
      program = self.program.compiled.setdefault(
        ("at", size), EncoderProgram(config, self.program.mesh)
      )
      self._sizes[size] = Encoder(program, variables)
    return self._sizes[size]

  def with_settings(self, **settings) -> "Encoder":
    """Makes the encoder with other settings of module and stack; those it lacks are ignored."""
    encoder = vars(settings_of(self.program.config.parts.encoder))
    known = {k: v for k, v in settings.items() if k in encoder and encoder[k] != v}
    if not known:
      return self
    key = ("changed", *sorted(known.items()))
    if key not in self.program.compiled:
      config = unlocked(self.program.config)
      for name, value in known.items():
        node = config.parts.encoder
        (node if name in node else node.stack)[name] = value
      self.program.compiled[key] = EncoderProgram(config, self.program.mesh)
    return Encoder(self.program.compiled[key], self.variables)

  def with_learned_positions(self) -> "Encoder":
    """Makes the same encoder with its fixed positions as parameters, of its own grid."""
    key = ("with_learned_positions",)
    config, patch = self.program.config, self.program.config.parts.tokenizer.patch
    grid = tuple(side // patch for side in config.data.view.size)
    variables, config = adapt.adapted(self.variables, unlocked(config), grid=grid)
    program = self.program.compiled.setdefault(key, EncoderProgram(config, self.program.mesh))
    return Encoder(program, variables)

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the weights, the parts and the view."""
    digest = hashlib.blake2b(digest_size=16)
    config = self.program.config
    told = [config_lib.to_json(node) for node in (config.parts, config.encode, config.data.view)]
    for text in (*told, jax.__version__, jax.default_backend()):
      digest.update(text.encode())
    for name, leaf in native.leaves(jax.device_get(self.variables)):
      digest.update(f"{name} {leaf.shape} {leaf.dtype}".encode())
      digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def unwrap(encode) -> Encoder:
  """Unwraps the Encoder of an encode; NoNetwork where there is none."""
  inner = getattr(encode, "encode", encode)
  if not isinstance(inner, Encoder):
    raise NoNetwork("needs a network, and this encoder has none")
  return inner


class NoNetwork(InputError):
  """Raised where a network is to be trained and there is none: the runner leaves that row empty."""


def unlocked(config):
  """Copies a config that may be changed, references resolved."""
  config = copy.deepcopy(config).copy_and_resolve_references()
  config.unlock()
  return config


def resized(config, variables: dict, size: int) -> tuple[Any, dict]:
  """Resizes (config, variables) to square views of `size` pixels."""
  config = unlocked(config)
  encoder, tokenizer = config.parts.encoder, config.parts.get("tokenizer", {})
  patch = tokenizer.get("patch", 1)
  if size % patch:
    raise InputError(f"size: {size} pixels are no whole number of patches of {patch}.")
  known = settings_of(encoder)
  if known.positions in PLACED or known.relative or "window" in encoder:
    variables, config = adapt.adapted(variables, config, grid=(size // patch,) * 2)
  config.data.view.size = (size, size)
  return config, variables


def up_to(layer: int | None, last: int) -> tuple[int, ...] | None:
  """Lists the numbers of the `last` layers up to `layer`; None for the output alone."""
  if last < 1 or (layer is not None and 0 < layer < last):
    raise InputError(
      f"last: {last} layers up to layer {layer or -1} do not exist; give 1 (that layer alone) or "
      "more, and no more than there are."
    )
  if layer is None and last == 1:
    return None
  end = -1 if layer is None else layer
  return tuple(range(end - last + 1, end + 1))


def pooled(latents: core.Latents, pool: str | None):
  """Pools latents: [b n d] of all patches, or one vector an image, "mean", "class" or "both".

  The mean is that of the real tokens (`latents.valid`); where there is none, it is 0.
  """
  if pool in ("class", "both") and latents.prefix.shape[1] == 0:
    raise InputError(
      f"pool: {pool!r} needs a class token, and this encoder has none. Use pool='mean'."
    )
  choices = {
    None: lambda: latents.values,
    "tokens": lambda: latents.values,
    "mean": lambda: _mean(latents),
    "class": lambda: latents.prefix[:, 0],
    "both": lambda: jnp.concatenate([latents.prefix[:, 0], _mean(latents)], -1),
  }
  if pool not in choices:
    raise InputError(f"pool: {pool!r} is unknown. Allowed: None, {', '.join(map(repr, POOLS))}.")
  return choices[pool]()


def _mean(latents: core.Latents):
  """Averages the real tokens, in float32 as jnp.mean does: [b d]."""
  values, valid = latents.values, latents.valid
  if valid is None:
    return jnp.mean(values, 1)
  # Chosen, not multiplied: what stands in padding may be no number.
  total = jnp.sum(jnp.where(valid[..., None], values, 0), 1, dtype=jnp.float32)
  count = jnp.maximum(jnp.sum(valid, 1, keepdims=True, dtype=jnp.float32), 1.0)
  return (total / count).astype(values.dtype)
