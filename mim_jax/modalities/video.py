"""Clips: files, pictures that a camera pans over, or the embedded digits, which move."""

import dataclasses

import jax
import ml_collections
from ml_collections import config_dict

from mim_jax import config as config_lib
from mim_jax import errors
from mim_jax.config import part
from mim_jax.data import video
from mim_jax.modalities import image
from mim_jax.ops import patches

ENTRY, UNIT = "image", "clips"
EMBEDDED, DATASET = "digits", "clips"
SHAPE = dict(image=12, channels=1, frames=8, stride=1)  # of the embedded data
COUNTED = dict(image=224)  # of the task in which all methods are counted
DIGITS = dict(mean=(0.180,), std=(0.331,))  # of the training split
patch = image.patch


@dataclasses.dataclass(frozen=True)
class Video:
  """Clips [b t h w c], or pairs of their frames [b h w c]; see modalities.

  Attributes:
    entry: what a batch calls them.
    unit: what people call many of them.
  """

  entry: str = ENTRY
  unit: str = UNIT

  raw = image.Image.raw
  paint = image.Image.paint
  change = image.Image.change
  evaluations = image.Image.evaluations

  def own(self, path: str, data):
    """Opens a folder of a user's clips, with the frames that `data` of a config takes."""
    sample = config_lib.build(data.test.sample)
    return video.clips(sample=sample, **image.own_files(path, data))

  def plain(self, viewed: dict, patch: int = 0) -> jax.Array:
    """Takes the pixels as they are: [b e], or those of each patch of every frame [b n e]."""
    pixels = viewed[self.entry]
    if not patch:
      return pixels.reshape(len(pixels), -1)
    return patches.patchify(pixels, (1,) * (pixels.ndim - 4) + (patch, patch))

  def still(self, viewed: dict) -> jax.Array:
    """Takes the frame in the middle of each clip."""
    found = viewed[self.entry]
    return found if found.ndim == 4 else found[:, found.shape[1] // 2]


def data(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Makes sources and views of clips of `frames` frames, `stride` apart."""
  size = config_dict.FieldReference((a.image, a.image))
  views = dict(size=size, **(DIGITS if a.embedded else image.statistics(a.channels)))
  sample = part(video.dense, frames=a.get("frames", 16), stride=a.get("stride", 4))
  train, test = sources(a, sample)
  return ml_collections.ConfigDict(
    dict(
      train=train,
      test=test,
      augment=part(video.multi_scale_crop, **views),
      view=part(video.center, **views),
    )
  )


def pairs(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Makes sources and views of two frames of a clip."""
  made = data(a)
  near = dict(low=1, high=4) if a.embedded else {}
  made.train, made.test = sources(a, part(video.pair, **near))
  views = {key: made.view.get_ref(key) for key in ("size", "mean", "std")}
  made.augment = part(video.pair_crop, flip=not a.embedded, **views)
  made.view = part(video.pair_center, resize=256 / 224 if a.image >= 128 else 1.0, **views)
  return made


def sources(a, sample: ml_collections.ConfigDict) -> tuple:
  """Names the sources of training and test, whose clips have the frames of `sample`."""
  kinds: dict[str, tuple] = {
    EMBEDDED: (video.moving_digits, {}),
    "arrays": (video.moving_arrays, dict(path=a.path)),
    "clips": (video.clips, dict(path=a.path, canvas=2 * a.image, channels=a.channels)),
  }
  if a.dataset not in kinds:
    raise errors.unknown("config argument dataset, of clips", a.dataset, kinds)
  kind, settings = kinds[a.dataset]
  return tuple(part(kind, split=s, sample=sample, **settings) for s in ("train", "test"))
