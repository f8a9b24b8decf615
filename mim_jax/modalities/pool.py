"""Images with maps of depth and of classes: in folders, or made from the images themselves."""

import dataclasses

import ml_collections

from mim_jax import errors
from mim_jax.config import part
from mim_jax.data import pool
from mim_jax.data.pool import pseudo
from mim_jax.modalities import image

ENTRY, UNIT = "image", "images"
ENTRIES = ("image", "depth", "semantic")
EMBEDDED, DATASET = image.EMBEDDED, "folder"
SHAPE = image.SHAPE
COUNTED = image.COUNTED
patch = image.patch


@dataclasses.dataclass(frozen=True)
class Pool:
  """Images with maps that belong to them; see modalities.

  Attributes:
    entry: what a batch calls the images, which stand for all where one is asked for.
    unit: what people call many of them.
  """

  entry: str = ENTRY
  unit: str = UNIT

  raw = image.Image.raw
  plain = image.Image.plain
  paint = image.Image.paint
  still = image.Image.still
  change = image.Image.change
  evaluations = image.Image.evaluations

  def own(self, path: str, data):
    """Opens a folder of a user's images and maps."""
    files = image.own_files(path, data)
    return pool.paired(maps=data.test.maps, ids=data.test.ids, **files)


def classes(a: ml_collections.ConfigDict) -> int:
  """Counts the classes of semantic maps: as given or COCO's panoptic labels, else those made."""
  return (a.classes or 133) if a.dataset == "folder" else pseudo.CLASSES


def data(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Makes sources and views that have all modalities; `classes` of the semantic maps."""
  files = dict(path=a.path, canvas=2 * a.image, channels=a.channels, ids=classes(a))
  kinds: dict[str, tuple] = {
    EMBEDDED: (pool.digits_with_maps, {}),
    "arrays": (pool.arrays_with_maps, dict(path=a.path)),
    "folder": (pool.paired, files),
  }
  if a.dataset not in kinds:
    remedy = "Images with maps are needed."
    raise errors.unknown("config argument dataset", a.dataset, kinds, remedy)
  kind, settings = kinds[a.dataset]
  made = image.data(a)
  made.train, made.test = (part(kind, split=split, **settings) for split in ("train", "test"))
  for name, view in (("augment", pool.crop_and_flip), ("view", pool.center_crop)):
    shared = {key: made[name].get_ref(key) for key in made[name] if key != "part"}
    made[name] = part(view, **shared)
  return made
