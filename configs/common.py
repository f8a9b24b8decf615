"""What many configs share: arguments, sizes, data sets, evaluations. Numbers come from where the
line says."""

import dataclasses
import math

import ml_collections
from ml_collections import config_dict

from mim_jax import errors, layers, objectives
from mim_jax.config import part
from mim_jax.data import skipping
from mim_jax.data.image import augment, sources
from mim_jax.data.video import clip_files as clip_files
from mim_jax.data.video import moving
from mim_jax.evaluate.frozen import linear, neighbours
from mim_jax.weights import native

# width, depth, heads: ViT (arXiv 2010.11929) table 1, DeiT for S; nano (tests) and tiny (laptops)
# are ours.
SIZES = dict(
  nano=dict(width=24, depth=2, heads=2),
  tiny=dict(width=96, depth=4, heads=3),
  S=dict(width=384, depth=12, heads=6),
  B=dict(width=768, depth=12, heads=12),
  L=dict(width=1024, depth=24, heads=16),
  H=dict(width=1280, depth=32, heads=16),
)
LAPTOP = ("nano", "tiny")
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

# Every config takes these: `--config=configs/mae.py:size=S,dataset=folder,path=photos,image=64`.
ARGUMENTS = dict(
  size="",  # nano tiny S B L H; "" is B, or tiny for the embedded data
  dataset="imagenet2012",  # digits, folder, shards, packed, arrays, or the name of a TFDS data set
  path="",  # of the folder (of images, of tar files, packed), or of a .npz file
  image=0,  # side in pixels; 0 is what the data set has or 224
  patch=0,  # side in pixels; 0 follows from the image
  channels=3,  # of the images in a folder or TFDS set
  epochs=0,  # 0 is the published number
  init="",  # a finished run whose tokenizer and encoder to start from
)


def arguments(arg: str, **defaults) -> ml_collections.ConfigDict:
  """The text after the colon, 'size=S,dataset=digits', as a typed ConfigDict."""
  a = ml_collections.ConfigDict(ARGUMENTS | defaults)
  for item in filter(None, arg.split(",")):
    name, equals, value = item.partition("=")
    if name not in a or not equals:
      raise errors.unknown("config argument", name, a.keys(), "Write name=value,name=value.")
    try:
      a[name] = type(a[name])(value)
    except ValueError as error:
      kind = type(a[name]).__name__
      raise errors.InputError(
        f"config argument {name}: {value!r} is not of type {kind}."
      ) from error
  embedded = a.dataset == "digits"
  a.size = a.size or ("tiny" if embedded else "B")
  if a.size not in SIZES:
    raise errors.unknown("config argument size", a.size, SIZES)
  if a.size in LAPTOP and "epochs=" not in arg:
    a.epochs = 20
  a.image = a.image or (8 if embedded else 224)
  a.channels = 1 if embedded else a.channels
  a.patch = a.patch or default_patch(a.size, a.image)
  return a


def default_patch(size: str, image: int) -> int:
  """16 (14 for H) at 224 pixels; of smaller images an eighth of the side, at least 2 pixels."""
  if image >= 128:
    return 14 if size == "H" else 16
  return max(2, image // 8)


# Attention and mlp are pairs of maps: the first split by what it puts out, the second by what it
# takes in. All else is small, but for the codes of iBOT.
SHARDING = (
  (r"(out|down)/kernel$", "rows"),
  (r"(kernel|codes)$", "columns"),
  (".*", "replicate"),
)


def base(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """What every method starts from: seed, data, train, encode, evaluations."""
  c = ml_collections.ConfigDict()
  c.seed = 0  # of parameters, order of data, and all draws
  c.patch = config_dict.FieldReference(a.patch)  # side in pixels; all parts follow it
  c.data = data(a)
  c.teachers = ml_collections.ConfigDict()
  c.encode = part(objectives.encode, entry="image")
  if a.init:
    c.start_from = part(native.from_run, **native.pinned(a.init))
  c.train = ml_collections.ConfigDict(
    dict(
      steps=config_dict.placeholder(int),  # updates of the whole run; this or epochs
      epochs=config_dict.placeholder(float),  # passes over the training images
      batch_size=config_dict.FieldReference(4096),  # of all devices together
      dtype=config_dict.FieldReference("float32"),  # what is computed in, or "bfloat16"
      log_every=50,  # steps between lines of metrics
      checkpoints="",  # where they lie: gs://BUCKET/FOLDER, or "" for the run folder
      checkpoint_every=1000,  # steps between checkpoints
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
      skip_rate=skipping.RATE,  # share of unreadable images above which the run stops
      mesh=dict(data=-1, fsdp=1, tensor=1),  # devices along each axis, -1 for all that are left
      sharding=SHARDING,  # (pattern of a name, how it is divided), the first that fits
    )
  )
  c.train.update(budget(a))
  c.evaluations = evaluations()
  return c


def network(kind, **settings) -> ml_collections.ConfigDict:
  """The node of an encoder or predictor whose stack's settings are among `settings`."""
  rope = kind.__name__ in ("RopeViT", "CrossAttentionDecoder")
  stack = layers.RopeStack if rope else layers.Stack
  own = {f.name for f in dataclasses.fields(stack)} - {"parent", "name"}
  inner = {k: settings.pop(k) for k in own & settings.keys()}
  return part(kind, stack=part(stack, **inner), **settings)


def budget(a: ml_collections.ConfigDict) -> dict:
  """How long and in which batches: as published, or for a laptop at sizes nano and tiny."""
  if a.dataset == "digits":
    return dict(steps=1400, batch_size=256)
  if a.size in LAPTOP:
    return dict(epochs=float(a.epochs), batch_size=256, checkpoint_every=200)
  return dict(epochs=float(a.epochs))


def scaled(
  c: ml_collections.ConfigDict, rate: float, images: int = 256
) -> config_dict.FieldReference:
  """`rate`, which is for batches of `images`, times batch size / `images`, whatever is set later.

  A float comes first, so that a float may replace the result on the command line.
  """
  return config_dict.FieldReference(rate / images) * c.train.get_ref("batch_size")


def tokens(c: ml_collections.ConfigDict) -> int:
  """Patches of an image as the networks of `c` see it."""
  return math.prod(side // c.patch for side in c.data.augment.size)


def data(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Sources and views of a data set, by name."""
  norm = statistics(a.channels)
  size = config_dict.FieldReference((a.image, a.image))
  if a.dataset == "digits":
    norm = dict(mean=(0.305,), std=(0.376,))  # of the training split
    splits = [part(sources.digits, split=s) for s in ("train", "test")]
  elif a.dataset in ("folder", "shards"):
    settings = dict(path=a.path, canvas=canvas(a.image), channels=a.channels)
    source = sources.folder if a.dataset == "folder" else sources.shards
    splits = [part(source, split=s, **settings) for s in ("train", "test")]
  elif a.dataset == "packed":
    settings = dict(path=a.path, channels=a.channels)
    splits = [part(sources.packed, split=s, **settings) for s in ("train", "test")]
  elif a.dataset == "arrays":
    splits = [part(sources.arrays, split=s, path=a.path) for s in ("train", "test")]
  else:
    settings = dict(name=a.dataset, canvas=canvas(a.image), channels=a.channels)
    test = "validation" if a.dataset.startswith("imagenet") else "test"
    splits = [part(sources.tfds, split=s, **settings) for s in ("train", test)]
  crop = dict(scale=(0.6, 1.0), flip=False) if a.dataset == "digits" else {}
  return ml_collections.ConfigDict(
    dict(
      train=splits[0],
      test=splits[1],
      crop="device",  # or "host", while decoding: see data/host.py
      augment=part(augment.crop_and_flip, size=size, **crop, **norm),
      view=part(
        augment.center_crop, size=size, resize=256 / 224 if a.image >= 128 else 1.0, **norm
      ),
    )
  )


def canvas(image: int) -> int:
  """Side of the square that images cross to the device on: twice the view's, from 224 on 512.

  Most photos of ImageNet are 500 pixels wide: they need no resizing on the host then.
  """
  return max(2 * image, 512) if image >= 224 else 2 * image


def statistics(channels: int) -> dict:
  """Mean and deviation of pixels: ImageNet's for colour, the middle of the range otherwise."""
  return IMAGENET if channels == 3 else dict(mean=(0.5,) * channels, std=(0.25,) * channels)


def evaluations() -> ml_collections.ConfigDict:
  """Nearest neighbours and linear probes on frozen features, with all labels and with ten a
  class."""
  return ml_collections.ConfigDict(
    dict(
      seeds=3,
      baselines=("random", "pixels"),
      knn=part(neighbours.knn),
      linear=part(linear.linear_probe),
      linear_10=part(linear.linear_probe, per_class=10),
    )
  )


def clips(a: ml_collections.ConfigDict, sample: ml_collections.ConfigDict) -> dict:
  """The sources of clips, for data.train and data.test: files in a folder, or moving pictures."""
  if a.dataset == "digits":
    settings = [part(moving.moving_digits, split=s, sample=sample) for s in ("train", "test")]
  elif a.dataset == "arrays":
    known = dict(path=a.path, sample=sample)
    settings = [part(moving.moving_arrays, split=s, **known) for s in ("train", "test")]
  elif a.dataset == "clips":
    known = dict(path=a.path, sample=sample, canvas=2 * a.image, channels=a.channels)
    settings = [part(clip_files.clips, split=s, **known) for s in ("train", "test")]
  else:
    raise errors.unknown(
      "config argument dataset, of clips", a.dataset, ("arrays", "clips", "digits")
    )
  return dict(zip(("train", "test"), settings, strict=True))


def clip_statistics(a: ml_collections.ConfigDict) -> dict:
  """Mean and deviation of pixels of clips; those of the moving digits are of the training split."""
  return dict(mean=(0.180,), std=(0.331,)) if a.dataset == "digits" else statistics(a.channels)
