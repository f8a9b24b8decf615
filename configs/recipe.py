"""What configs share: data, loop, networks, optimizers, teachers.

A config calls `start`, states its paper, and ends with `finish`. Numbers come from where the line
says. What follows from another value is a reference, so that an override moves it, too.
"""

import dataclasses
import importlib.util
import inspect
import pathlib
from collections.abc import Callable

import ml_collections
from ml_collections import config_dict

from mim_jax import config as config_lib
from mim_jax import (
  encoders,
  errors,
  layers,
  modalities,
  objectives,
  ops,
  optim,
  predictors,
  schedules,
  teachers,
  tokenizers,
)
from mim_jax.config import part
from mim_jax.configs import arguments
from mim_jax.configs.arguments import SIZES as SIZES
from mim_jax.configs.arguments import chosen as chosen
from mim_jax.configs.overlays import finish as finish
from mim_jax.configs.references import follow as follow
from mim_jax.configs.references import grid as grid
from mim_jax.configs.references import per_batch as per_batch
from mim_jax.configs.references import scaled as scaled
from mim_jax.configs.references import share as share
from mim_jax.data import skipping
from mim_jax.evaluate import frozen
from mim_jax.weights import native

DECODERS = dict(nano=dict(width=16, depth=1, heads=2), tiny=dict(width=64, depth=2, heads=4))
UNNAMED = "teacher=FOLDER"

# Megatron sharding: qkv and up are column-parallel, out and down row-parallel; all else is
# replicated, but for the prototypes of iBOT.
SHARDING = (
  (r"(out|down)/kernel$", "rows"),
  (r"(kernel|codes)$", "columns"),
  (".*", "replicate"),
)


def start(arg: str, modality: str | Callable = "image", steps: int = 0, **own) -> tuple:
  """Begins a config: (c, a), what every method has, and the arguments after the colon, read.

  modality: its name, or a function of the arguments. steps: the published number, where that is not
  in epochs. own: arguments of this config beside arguments.ARGUMENTS, and other defaults of those,
  as published. Embedded data keep their own size and image. InputError for unknown arguments.
  """
  a = arguments.read(arg, modality, own, steps)
  return base(a), a


def base(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Makes what every method starts from: seed, data, train, encode, evaluations."""
  kind = modalities.named(a.modality)
  c = ml_collections.ConfigDict()
  c.seed = 0  # of parameters, order of data, and all draws
  if a.patch:
    c.patch = config_dict.FieldReference(a.patch)  # side in pixels; all parts follow it
  c.modality = part(getattr(modalities, a.modality.capitalize()))
  c.data = kind.data(a)
  c.teachers = ml_collections.ConfigDict()
  c.encode = part(objectives.encode, entry=kind.ENTRY)
  if a.init:
    c.start_from = part(native.from_run, **native.pinned(a.init))
  c.train = ml_collections.ConfigDict(
    dict(
      steps=config_dict.placeholder(int),  # updates of the whole run; this or epochs
      epochs=config_dict.placeholder(float),  # passes over the training data
      batch_size=config_dict.FieldReference(a.batch_size),  # of all devices together
      fit_batch=a.fit_batch,  # less data than a batch: take the largest power of two that fits
      dtype=config_dict.FieldReference("float32"),  # what is computed in, or "bfloat16"
      log_every=50,  # steps between lines of metrics
      checkpoints="",  # where they lie: gs://BUCKET/FOLDER, or "" for the run folder
      checkpoint_every=200 if a.laptop and not a.embedded else 1000,  # steps between checkpoints
      keep=2,  # the newest checkpoints
      keep_every=0,  # and every so many steps one, 0 for none
      keep_best=0,  # and so many of least loss since the one before
      on_damage="stop",  # a damaged checkpoint; "previous" goes on from the newest that is whole
      on_non_finite="stop",  # or "skip" the step, or "rewind" and leave out the batches
      probe_every=0.0,  # epochs between evaluations while training, 0 for none
      probe=("knn",),  # which of `evaluations`
      tensorboard=False,  # event files in the run folder
      wandb="",  # a project of Weights & Biases
      watchdog=1800.0,  # seconds without a step after which the process ends, 0 for ever
      threads=2,  # that read and decode, in each process
      workers=0,  # processes that read and decode, 0 for threads of this one
      skip_rate=skipping.MAX_SKIPPED,  # share of unreadable entries above which the run stops
      mesh=dict(data=-1, fsdp=1, tensor=1),  # devices along each axis, -1 for all that are left
      sharding=SHARDING,  # (pattern of a name, how it is divided), the first that fits
    )
  )
  c.train.update(dict(steps=a.steps) if a.steps else dict(epochs=float(a.epochs)))
  c.evaluations = evaluations()
  return c


def evaluations() -> ml_collections.ConfigDict:
  """Nearest neighbours and linear probes on frozen features, with all labels and ten a class."""
  return ml_collections.ConfigDict(
    dict(
      seeds=3,
      baselines=("random", "pixels"),
      knn=part(frozen.knn),
      linear=part(frozen.linear_probe),
      linear_10=part(frozen.linear_probe, per_class=10),
    )
  )


def augment(c, a, view: Callable | None = None, **settings) -> None:
  """States the paper's training view, or settings of it; embedded data keep their own."""
  if a.embedded:
    return
  if view is not None:
    kept = {key: c.data.view.get_ref(key) for key in ("size", "mean", "std")}
    c.data.augment = part(view, **(kept | settings))
  else:
    c.data.augment.update(settings)


def pool(c, how: str) -> None:
  """Makes the config's evaluations read "class" tokens, or the "mean" of all."""
  for node in c.evaluations.values():
    if config_lib.is_node(node):
      node.pool = how


def by_size(a, table: dict, default=None):
  """Picks what a table says of the size, or the default."""
  return table.get(a.size, default)


def network(c, kind, **settings) -> ml_collections.ConfigDict:
  """Makes the node of an encoder or predictor, those of its stack among `settings`."""
  settings = dict(dtype=c.train.get_ref("dtype")) | settings
  names = {field.name for field in dataclasses.fields(kind)}
  if "stack" not in names:
    return part(kind, **settings)
  stack = layers.RopeStack if "rope" in kind.__module__ else layers.Stack
  own = {field.name for field in dataclasses.fields(stack)} - {"parent", "name"}
  inner = {name: settings.pop(name) for name in own & settings.keys()}
  return part(kind, stack=part(stack, **inner), **settings)


def vit(c, a, tokenizer: dict | None = None, **encoder) -> ml_collections.ConfigDict:
  """Makes the tokenizer and the ViT of the size: {"tokenizer": ..., "encoder": ...}."""
  size, dtype = SIZES[a.size], c.train.get_ref("dtype")
  cut = dict(patch=c.get_ref("patch")) if "patch" in c else {}
  settings = dict(width=size["width"], dtype=dtype) | cut | (tokenizer or {})
  kind = settings.pop("part", tokenizers.ImagePatches)
  shape = dict(depth=size["depth"], heads=size["heads"])
  vit = network(c, encoders.ViT, **shape, **encoder)
  return ml_collections.ConfigDict(dict(tokenizer=part(kind, **settings), encoder=vit))


def decoder(c, a, kind, **settings) -> ml_collections.ConfigDict:
  """Makes a predictor of pixels: as given at published sizes, small on a laptop."""
  settings = dict(target_width=c.get_ref("patch") ** 2 * a.channels) | settings
  return network(c, kind, **(settings | DECODERS.get(a.size, {})))


def linear(c, a, **settings) -> ml_collections.ConfigDict:
  """Makes a linear predictor of pixels."""
  settings = dict(target_width=c.get_ref("patch") ** 2 * a.channels) | settings
  return part(predictors.Linear, **settings, dtype=c.train.get_ref("dtype"))


def cosine(c, a, rate: float, warmup: float, per: int = 256, most: float = 0.1, **settings):
  """Makes a cosine of the learning rate `rate` for batches of `per`; warmup in epochs.

  The warm-up is at most the share `most` of the run.
  """
  rising = share(c, a, warmup, most)
  return part(schedules.cosine, peak=scaled(c, rate, per), warmup=rising, **settings)


def adamw(c, a, lr, warmup: float = 0.0, weight_decay=0.05, kind=optim.adamw, **settings):
  """Makes AdamW: the rate `lr` for 256 samples with a cosine and `warmup` epochs, or a schedule.

  weight_decay: a number, or a schedule of it.
  """
  lr = cosine(c, a, lr, warmup) if isinstance(lr, float) else lr
  if isinstance(weight_decay, float):
    weight_decay = part(schedules.constant, value=weight_decay)
  return part(kind, learning_rate=lr, weight_decay=weight_decay, **settings)


def teacher(
  c, a, name: str, stand_in: str, whole: bool = False, **settings
) -> ml_collections.ConfigDict:
  """Adds the frozen teacher `name` that the argument `teacher` says, and returns its config.

  Embedded data need none: the config `stand_in` with parameters drawn at random takes its place.
  One that is still to be named is taken to have the networks of `stand_in` at our size. settings:
  of teachers.FromRun.
  """
  arg = f"size={a.size},image={a.image},patch="
  if a.teacher or not a.embedded:
    known = native.pinned(a.teacher) if a.teacher else dict(path=UNNAMED)  # refused when needed
    c.teachers[name] = part(teachers.FromRun, **known, **settings)
    if a.teacher:
      return native.load(**known)[1]
    return config_lib.get_config(stand_in, f"{arg}{a.patch}")
  arg = f"dataset={a.dataset},{arg}"
  drawn = dict(config=stand_in, image=(a.image, a.image, a.channels), seed=1, whole=whole)
  same = follow(lambda patch: f"{arg}{patch}", c.get_ref("patch"))
  c.teachers[name] = part(teachers.Untrained, arg=same, **drawn)
  return config_lib.get_config(stand_in, f"{arg}{a.patch}")


def teacher_view(c, network, same_grid: bool = False) -> ml_collections.ConfigDict:
  """Makes the node from our images to a teacher's: its patches on our grid, its mean and std.

  InputError where the teacher cannot see another grid than its own (`same_grid`), and ours is one.
  """
  known = network.parts.tokenizer.patch  # published weights say no more
  sides = ((c, c.patch), (network, known))
  ours, theirs = (tuple(s // p for s in x.data.view.size) for x, p in sides)
  if same_grid and ours != theirs:
    raise errors.InputError(
      f"config argument teacher: its codes lie on a grid of {theirs}, the student's patches on one "
      f"of {ours}. Give image and patch so that both are the same, or train another codebook."
    )
  seen, wanted = ((tuple(x.mean), tuple(x.std)) for x in (c.data.view, network.data.view))
  node = next(iter(c.teachers.values()))
  patch = c.get_ref("patch") if "config" in node else config_dict.FieldReference(known)
  size = follow(lambda cells, p: tuple(n * p for n in cells), grid(c), patch)
  return part(ops.teacher_view, size=size, seen=seen, wanted=wanted)


def sibling(name: str):
  """Loads the config `name` that lies beside the calling file, or in a folder beside its folder."""
  here = pathlib.Path(inspect.stack()[1].filename).resolve().parent
  found = [*here.glob(f"{name}.py"), *here.parent.glob(f"*/{name}.py")]
  if not found:
    beside = {p.stem for p in (*here.glob("*.py"), *here.parent.glob("*/*.py"))}
    raise errors.unknown(f"{here}: no config", name, beside)
  spec = importlib.util.spec_from_file_location(f"mim_jax_config_{name}", found[0])
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
