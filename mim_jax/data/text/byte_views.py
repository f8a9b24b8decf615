"""Views of chunks of bytes on the device. Letters: b batch, n bytes."""

from typing import Any

import jax.numpy as jnp


def as_ids(batch: dict[str, Any], *, entry: str = "text") -> dict[str, Any]:
  """Widens the bytes of a raw batch to int32 ids [b n], -1 where there is no byte."""
  return {**batch, entry: jnp.asarray(batch[entry]).astype(jnp.int32)}


def as_ids_in_training(key, batch: dict[str, Any], *, entry: str = "text") -> dict[str, Any]:
  """Widens the bytes of a raw batch like `as_ids`: texts are not augmented."""
  return as_ids(batch, entry=entry)
