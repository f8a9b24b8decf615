"""Folders of images and of the maps that belong to them. Letters: b batch, h w size, H W canvas."""

import dataclasses
import functools
import hashlib
import os

import numpy as np
from PIL import Image

from mim_jax import errors
from mim_jax.data.image import decode, folders

_ONE_NUMBER = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes


class MapDecoder(decode.Decoder):
  """Reads a map, one whole number in 0..65535 a pixel, as uint16 [h w] of its own size.

  Grey images of 8 or 16 bits, palette images (the index counts, not the colour), .npy of uint8 or
  uint16. Values are never blended, so a map of classes remains one.
  """

  def plain(self, data: bytes) -> None:
    """Returns None: of a map nothing may be converted."""

  def pixels(self, image: Image.Image, name: str) -> np.ndarray:
    """Converts an opened image of allowed size."""
    image.load()
    if image.mode not in _ONE_NUMBER:
      raise errors.UnreadableError(
        f"data: {name} has mode {image.mode}; a map has one number a pixel. Save it as a grey "
        "image of 8 or 16 bits, a palette image, or a .npy file."
      )
    return self._checked(np.asarray(image), name)

  def array(self, path: str) -> np.ndarray:
    """Reads a .npy file of whole numbers [h w] or [h w 1]."""
    self.check_bytes(os.path.getsize(path), path)
    try:
      values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # missing header, pickled objects, cut short: many kinds
      raise errors.UnreadableError(f"data: {path} cannot be read ({error}). Mend it.") from error
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if values.ndim == 2:
      self.check_pixels(values.shape[1], values.shape[0], path)
    return self._checked(values, path)

  def _checked(self, values: np.ndarray, name: str) -> np.ndarray:
    whole = values.dtype.kind in "uib" and values.ndim == 2 and values.size
    if not whole or values.min() < 0 or values.max() > 65_535:
      raise errors.UnreadableError(
        f"data: {name} holds {values.dtype} {values.shape}; whole numbers in 0..65535 [h w] are "
        "wanted. Scale and convert them."
      )
    return values.astype(np.uint16)


@dataclasses.dataclass(frozen=True)
class Paired:
  """Reads images and, beside each, maps of other modalities, when they are asked for.

  Attributes:
    images: the Source of the images.
    maps: {modality: path of the map of each image}.
    decoder: how the file of a map becomes an array.
    ids: numbers in the map "semantic" must be below this.
  """

  images: folders.Folder
  maps: dict[str, tuple[str, ...]]
  decoder: MapDecoder
  ids: int

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Reads the batch of the images (sources.Source), and a uint16 [b H W] for each map."""
    batch = self.images[indices]
    canvas = batch["image"].shape[1:3]
    for signal, files in self.maps.items():
      packed = np.zeros((len(indices), *canvas), np.uint16)
      for place, index, size in zip(packed, indices, batch["size"], strict=True):
        place[: size[0], : size[1]] = self._read(signal, files[index], size)
      batch[signal] = packed
    return batch

  def names(self, indices: np.ndarray) -> list[str]:
    """Lists the images' relative names."""
    return self.images.names(indices)

  @property
  def label(self) -> np.ndarray:
    return self.images.label

  @property
  def classes(self) -> tuple[str, ...]:
    return self.images.classes

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hashes the names and file sizes of images and maps."""
    digest = hashlib.blake2b(self.images.fingerprint.encode(), digest_size=8)
    for signal, files in self.maps.items():
      for file in files:
        try:
          size = os.path.getsize(file)
        except OSError as error:
          raise folders.lost(file, error) from error
        digest.update(f"{signal}\0{size}\n".encode())
    return digest.hexdigest()

  def _read(self, signal: str, file: str, size: np.ndarray) -> np.ndarray:
    """Reads one map, [h w] as the image has it, by nearest neighbour."""
    values = folders.read(file, self.decoder)
    if signal == "semantic" and values.max() >= self.ids:
      raise errors.InputError(
        f"data: {file} holds the class {values.max()}, but there are {self.ids}, numbered from 0. "
        "Give `ids` the number of classes, and one of them to pixels without class."
      )
    if abs(np.log(values.shape[0] / values.shape[1] * size[1] / size[0])) > 0.05:
      raise errors.UnreadableError(
        f"data: {file} of {values.shape[0]} x {values.shape[1]} pixels has not the shape of its "
        f"image, {size[0]} x {size[1]}. Cut both alike."
      )
    rows, columns = (
      np.minimum((np.arange(n) + 0.5) * whole / n, whole - 1).astype(int)
      for n, whole in zip(size, values.shape, strict=True)
    )
    return values[rows[:, None], columns[None]]


def paired(
  *,
  path: str,
  split: str = "train",
  canvas: int = 256,
  channels: int = 3,
  maps: tuple[str, ...] = ("depth", "semantic"),
  ids: int = 133,
  holdout: float = 0.1,
  limits: tuple[int, int] = decode.LIMITS,
) -> Paired:
  """Opens a folder with a sub-folder `image`, and one a map, in which files have the same names.

  Inside each, folders are as in `folder`; endings may differ: image/train/cat/1.jpg belongs to
  depth/train/cat/1.png.

  path, split, holdout: see folders.folder.
  canvas, channels, limits: see decode.Decoder.
  maps: names of the maps' sub-folders.
  ids: the number of classes in `semantic`.

  InputError where an image has no map, and for maps that are none.
  """
  root = os.path.expanduser(path)
  images = folders.folder(
    path=os.path.join(root, "image"),
    split=split,
    canvas=canvas,
    channels=channels,
    holdout=holdout,
    limits=limits,
  )
  found = {signal: _matched(os.path.join(root, signal), images.files) for signal in maps}
  return Paired(images, found, MapDecoder(canvas, 1, limits), ids)


def _matched(root: str, images: tuple[str, ...]) -> tuple[str, ...]:
  """Matches the maps under `root` to the images by name; returns their paths."""
  files = {os.path.splitext(n)[0]: n for n in folders.scan(root, decode.EXTENSIONS, "maps")}
  for image in images:
    if os.path.splitext(image)[0] not in files:
      raise errors.InputError(
        f"data.path: the image {image!r} has no map in {root!r}"
        f"{errors.nearest(os.path.splitext(image)[0], files) or '.'} Give each image a map of the "
        "same name."
      )
  return tuple(os.path.join(root, files[os.path.splitext(image)[0]]) for image in images)
