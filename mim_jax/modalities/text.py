"""Texts as bytes: files of a user's own, or the embedded topics of Python's documentation."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from ml_collections import config_dict

from mim_jax import errors
from mim_jax.config import part
from mim_jax.data import text
from mim_jax.data.text.chunks import FILL
from mim_jax.evaluate import frozen
from mim_jax.pictures.glyphs import characters

ENTRY, UNIT = "text", "texts"
EMBEDDED, DATASET = "topics", "folder"
SHAPE = dict(length=128, batch_size=16, steps=2000)  # of the embedded data; length: in bytes
COUNTED = dict(length=512)  # of the task in which all methods are counted: as published
BYTES = 256
MASK_ID = BYTES  # the id of [MASK], behind those of bytes


@dataclasses.dataclass(frozen=True)
class Text:
  """Texts [b n] of bytes, -1 where there is none; see modalities.

  Attributes:
    entry: what a batch calls them.
    unit: what people call many of them.
  """

  entry: str = ENTRY
  unit: str = UNIT

  def raw(self, inputs) -> dict:
    """Makes a raw batch of strings, of bytes, or of ids [b n]."""
    if isinstance(inputs, str | bytes):
      raise errors.InputError("texts: this is one text; a list of texts is wanted: [text].")
    if all(isinstance(x, str | bytes) for x in inputs):
      rows = [np.frombuffer(x.encode() if isinstance(x, str) else x, np.uint8) for x in inputs]
      inputs = np.full((len(rows), max(map(len, rows), default=0)), FILL, np.int16)
      for to, row in zip(inputs, rows, strict=True):
        to[: len(row)] = row
    return {self.entry: jnp.asarray(inputs)}

  def own(self, path: str, data):
    """Opens a user's text files, in chunks as long as `data` of a config has them."""
    return text.text_files(path=path, split="all", length=data.test.length)

  def plain(self, viewed: dict, patch: int = 0) -> jax.Array:
    """Counts how often each byte comes, as fractions of the text: [b 256], or [b n 256] each."""
    ids = viewed[self.entry]
    each = jax.nn.one_hot(ids, BYTES, dtype=jnp.float32)  # 0 where there is no byte
    return each if patch else jnp.sum(each, 1) / jnp.maximum(jnp.sum(each, (1, 2))[:, None], 1.0)

  def paint(self, panels: dict, view) -> dict:
    """Takes panels as they are: painters of texts draw in colours already."""
    return {name: np.clip(np.asarray(x), 0, 1) for name, x in panels.items()}

  def still(self, viewed: dict) -> jax.Array:
    """Draws each text as an image of its characters."""
    return characters(viewed[self.entry])

  def change(self, key, viewed: dict, seen: jax.Array, grid) -> dict:
    """Puts random bytes where tokens are hidden, none in padding; seen: bool [b n]."""
    ids = viewed[self.entry]
    others = jax.random.randint(key, ids.shape, 0, BYTES, ids.dtype)
    return {**viewed, self.entry: jnp.where(seen | (ids < 0), ids, others)}

  def evaluations(self, config) -> dict:
    """Offers nearest neighbours, linear probes, and how well masked bytes are predicted."""
    return dict(
      knn=part(frozen.knn),
      linear=part(frozen.linear_probe),
      linear_10=part(frozen.linear_probe, per_class=10),
      retrieval=part(frozen.retrieval),
      masked=masked(),
    )


def masked(**settings) -> ml_collections.ConfigDict:
  """Makes the node of how well masked bytes are predicted."""
  known = dict(entry=ENTRY, masked_id=MASK_ID, vocabulary=BYTES)
  return part(frozen.masked_tokens, **(known | settings))


def data(a: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Makes sources and views of texts of `length` bytes."""
  kinds: dict[str, tuple] = {
    EMBEDDED: (text.topics, {}),
    "folder": (text.text_files, dict(path=a.path)),
  }
  if a.dataset not in kinds:
    raise errors.unknown("config argument dataset, of texts", a.dataset, kinds)
  kind, settings = kinds[a.dataset]
  settings["length"] = config_dict.FieldReference(a.length)
  train, test = (part(kind, split=s, **settings) for s in ("train", "test"))
  views = dict(augment=part(text.as_ids_in_training), view=part(text.as_ids))
  return ml_collections.ConfigDict(dict(train=train, test=test, **views))
