"""Clips as a Source: the base of all kinds of clips, and clips in files.

Letters: b batch, t frames, H W canvas, h w true size, c channels.
"""

import abc
import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable

import numpy as np

from mim_jax import errors
from mim_jax.data import sample_order
from mim_jax.data.image import decode
from mim_jax.data.image import folders as folder_lib
from mim_jax.data.video import decoding

# Which frames are wanted of a clip that has so many: int -> int [t].
Choice = Callable[[int], np.ndarray]


class Clips(abc.ABC):
  """Reads clips, uint8 [b t H W c], of t frames chosen by `sample`: a Source.

  `source[indices]` takes the frames that `sample` takes without chance, so that evaluations are
  repeatable; training draws others each time it comes by (`draw`).

  Attributes:
    sample: see frames.
    label: int32 [n], -1 where there is none.
    classes: names of the labels.
  """

  sample: Callable
  label: np.ndarray
  classes: tuple[str, ...]

  @property
  @abc.abstractmethod
  def canvas(self) -> int:
    """Returns the side of the canvas, H and W."""

  @abc.abstractmethod
  def frames(self, index: int, choice: Choice) -> np.ndarray:
    """Reads the chosen frames of one clip, uint8 [t h w c] with h, w up to the canvas."""

  def __len__(self) -> int:
    return len(self.label)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    return self._batch(indices, [None] * len(indices))

  def draw(self, indices: np.ndarray, positions: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Reads a training batch, whose frames are a function of (seed, position in the stream)."""
    return self._batch(
      indices, [tuple(row) for row in sample_order.uniform(seed, positions, 2).tolist()]
    )

  def _batch(self, indices, chances):
    choices = [functools.partial(self.sample, chance=drawn) for drawn in chances]
    clips = [self.frames(int(i), choice) for i, choice in zip(indices, choices, strict=True)]
    t, c = clips[0].shape[0], clips[0].shape[-1]
    image = np.zeros((len(clips), t, self.canvas, self.canvas, c), np.uint8)
    for place, clip in zip(image, clips, strict=True):
      place[:, : clip.shape[1], : clip.shape[2]] = clip
    size = np.array([clip.shape[1:3] for clip in clips], np.int32)
    return {"image": image, "size": size, "label": self.label[indices]}


@dataclasses.dataclass(frozen=True, eq=False)
class Files(Clips):
  """Reads clips in files: each a video file, or a folder of images.

  Attributes:
    root: the folder of all.
    clip: names relative to it, with forward slashes.
    decoder: how a frame becomes an array.
  """

  root: str
  clip: tuple[str, ...]
  label: np.ndarray
  classes: tuple[str, ...]
  sample: Callable
  decoder: decode.Decoder

  @property
  def canvas(self) -> int:
    return self.decoder.canvas

  def names(self, indices: np.ndarray) -> list[str]:
    """Lists relative names of the files or folders."""
    return [self.clip[index] for index in indices]

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the names, file sizes or numbers of frames, and labels."""
    digest = hashlib.blake2b(digest_size=8)
    for name, label in zip(self.clip, self.label, strict=True):
      path = os.path.join(self.root, name)
      amount = os.path.getsize(path) if decoding.is_video(name) else len(_images(path))
      digest.update(f"{name}\0{amount}\0{label}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()

  def frames(self, index: int, choice: Choice) -> np.ndarray:
    """Reads the frames. InputError names a file that cannot be read."""
    path = os.path.join(self.root, self.clip[index])
    if decoding.is_video(path):
      return decoding.read(path, choice, self.decoder)
    names = _images(path)
    wanted = [os.path.join(path, names[i]) for i in choice(len(names))]
    found = [folder_lib.read(name, self.decoder) for name in wanted]
    for name, frame in zip(wanted, found, strict=True):
      if frame.shape != found[0].shape:
        raise errors.UnreadableError(
          f"data: {name} has {frame.shape[:2]} pixels, the first frame {found[0].shape[:2]}. "
          "Give all frames of a clip one size."
        )
    return np.stack(found)


def clips(
  *,
  path: str,
  split: str = "train",
  sample: Callable,
  canvas: int = 448,
  channels: int = 3,
  holdout: float = 0.1,
) -> Files:
  """Opens a folder of clips: every video file in it is one, and every folder that holds images.

  The frames of a folder go by name, numbers by value. Splits and classes are those of
  folder.folder, with clips in place of images. Video files need PyAV. sample: which frames, see
  frames. canvas, channels: see decode.Decoder. InputError where there are no clips.
  """
  root = os.path.expanduser(path)
  decoder = decode.Decoder(canvas, channels)
  names, label, classes = folder_lib.divide(_scan(root), split, holdout)
  return Files(root, names, label, classes, sample, decoder)


def _scan(root: str) -> list[str]:
  """Lists relative names of all clips under `root`, sorted."""
  extensions = decode.EXTENSIONS + decoding.EXTENSIONS
  files = folder_lib.scan(root, extensions, "videos or folders of images")
  found = {name if decoding.is_video(name) else os.path.dirname(name) for name in files}
  if "" in found:
    raise errors.InputError(
      f"data.path: {root!r} holds images of its own, and one clip alone is no data set. Give the "
      "images of every clip a folder of their own."
    )
  return sorted(found)


def _images(path: str) -> list[str]:
  """Lists the images in the folder of a clip, in the order of the numbers in their names."""
  try:
    names = os.listdir(path)
  except OSError as error:
    raise folder_lib.lost(path, error) from error
  kept = [n for n in names if n.lower().endswith(decode.EXTENSIONS) and not n.startswith(".")]
  return sorted(
    kept, key=lambda n: [int(x) if x.isdigit() else x for x in re.split(r"([0-9]+)", n)]
  )
