"""The base of all sources of encoded images. Letters: b batch, H W canvas, h w true size."""

import abc

import numpy as np

from mim_jax.data.image import decode


class Encoded(abc.ABC):
  """Fetches images as they are stored and decodes them: a Source.

  Attributes:
    decoder: how a stored image becomes an array.
    label: int32 [n], -1 where there is none.
  """

  decoder: decode.Decoder
  label: np.ndarray

  @abc.abstractmethod
  def fetch(self, indices: np.ndarray) -> tuple[list[bytes | np.ndarray], np.ndarray]:
    """Fetches images as they are stored, and their labels, int32 [b].

    Each image is a file's bytes or an array [h w c]. UnreadableError names what cannot be fetched.
    """

  @abc.abstractmethod
  def names(self, indices: np.ndarray) -> list[str]:
    """Names these images for messages."""

  def __len__(self) -> int:
    return len(self.label)

  def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Reads a batch. UnreadableError names what cannot be read."""
    stored, label = self.fetch(indices)
    pairs = zip(stored, self.names(indices), strict=True)
    # One at a time, so that each is decoded into the memory that the one before has left.
    images = (self.decoder.image(found, name) for found, name in pairs)
    return {**decode.pack(images, len(stored), self.decoder), "label": label}
