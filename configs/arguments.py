"""The arguments of a config, the text after the colon: `mae:size=S,dataset=folder,path=photos`."""

import ml_collections

from mim_jax import errors, modalities

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

# Every config takes these: `--config=mae:size=S,dataset=folder,path=photos,image=64`.
ARGUMENTS = dict(
  size="",  # nano tiny S B L H; "" is the published one, or tiny for the embedded data
  dataset="",  # embedded (images: digits), folder, shards, packed, arrays, clips, or a TFDS name
  path="",  # of the folder (of images, of tar files, packed), or of a .npz file
  image=0,  # side in pixels; 0 is what the data set has or the published one
  patch=0,  # side in pixels; 0 follows from the image
  channels=3,  # of the images in a folder or TFDS set
  epochs=0,  # 0 is the published number
  batch_size=0,  # of all devices together; 0 is the published number
  init="",  # a finished run whose tokenizer and encoder to start from
)

EMBEDDED_STEPS, LAPTOP_EPOCHS, LAPTOP_BATCH = 1400, 20, 256


def read(arg: str, modality, own: dict, steps: int = 0) -> ml_collections.ConfigDict:
  """Reads 'size=S,dataset=embedded' into a typed ConfigDict, defaults filled in.

  modality: its name, or a function of the arguments. own: more arguments, and other defaults; one
  that is a function of the arguments comes after those that are not. steps: the published number,
  where no epochs are published. InputError for unknown arguments and wrong types.
  """
  items = [item.partition("=") for item in filter(None, arg.split(","))]
  for name, equals, _ in items:
    if name not in ARGUMENTS | own or not equals:
      allowed = [*ARGUMENTS, *own]
      raise errors.unknown("config argument", name, allowed, "Write name=value,name=value.")
  given = {name: value for name, _, value in items}
  a = ml_collections.ConfigDict()
  for name, default in (own | ARGUMENTS).items():
    known = ARGUMENTS.get(name, "" if callable(default) else default)
    a[name] = _typed(name, given[name], type(known)) if name in given else known
  a.modality = modality(a) if callable(modality) else modality
  return _filled(a, given, own, steps)


def _typed(name: str, value: str, kind: type):
  try:
    return kind(value)
  except ValueError as error:
    raise errors.InputError(
      f"config argument {name}: {value!r} is not of type {kind.__name__}."
    ) from error


def chosen(a, name: str, among: dict):
  """Looks up what the argument `name` chooses; InputError if that is none of `among`."""
  if a[name] not in among:
    raise errors.unknown(f"config argument {name}", a[name], among)
  return among[a[name]]


def _filled(a, given: dict, own: dict, steps: int) -> ml_collections.ConfigDict:
  """The arguments with what was not given: the embedded data's own, or as published."""
  kind = modalities.named(a.modality)
  a.dataset = kind.EMBEDDED if a.dataset == "embedded" else a.dataset or kind.DATASET
  a.embedded = a.dataset == kind.EMBEDDED
  shape = kind.SHAPE if a.embedded else {}
  published = dict(size="B", image=224, channels=3, epochs=1, batch_size=4096) | own
  a.size = a.size or ("tiny" if a.embedded else published["size"])
  chosen(a, "size", SIZES)
  unfit = {"image", "channels"} - set(kind.SHAPE) | ({"patch"} - set(dir(kind)))
  for name in unfit & given.keys():
    remedy = f"It says nothing of {kind.UNIT}."
    raise errors.unknown("config argument", name, (ARGUMENTS.keys() | own.keys()) - unfit, remedy)
  names = ("image", "channels", *own, *kind.SHAPE, "epochs", "batch_size", "patch")
  for name in dict.fromkeys(names):
    default = (published | shape).get(name, 0)
    if name not in given and name != "size":
      a[name] = default(a) if callable(default) else default
  a.patch = a.patch or (kind.patch(a.size, a.image) if hasattr(kind, "patch") else 0)
  a.laptop = a.size in LAPTOP
  if a.laptop and "epochs" not in given:
    a.epochs = LAPTOP_EPOCHS
  if (a.laptop or a.embedded) and "batch_size" not in given:
    a.batch_size = shape.get("batch_size", LAPTOP_BATCH)
  steps = shape.get("steps", EMBEDDED_STEPS) if a.embedded else 0 if a.laptop else steps
  a.fit_batch = "batch_size" not in given
  a.steps = 0 if "epochs" in given else steps
  return a
