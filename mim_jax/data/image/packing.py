"""Writing of packed stores (see packed_store): in parallel, each file whole or not there."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable

import numpy as np
import simplejpeg

from mim_jax import errors
from mim_jax.data.image import decode, encoded, packed_store

PER_FILE = 1024  # images
_OPTIONS = "group_size:1,uncompressed"  # JPEG and noise do not get smaller, and each image is alone


@dataclasses.dataclass(frozen=True)
class Settings:
  """Describes how images are stored.

  Attributes:
    size: pixels; a longer shorter side is shrunk to it. Sides beyond 3/2 of it are shrunk, too.
    kind: "jpeg" or "raw".
    quality: of the JPEG, 1 to 100.
    channels: of all images.
  """

  size: int = 256
  kind: str = "jpeg"
  quality: int = 95
  channels: int = 3

  def __post_init__(self):
    """Checks the settings. Errors: InputError."""
    if self.kind not in packed_store.KINDS:
      raise errors.unknown("pack --kind", self.kind, packed_store.KINDS)
    if self.size < 1 or not 1 <= self.quality <= 100:
      raise errors.InputError(
        f"pack: --size {self.size} must be positive and --quality {self.quality} in 1..100; "
        "--size=256 --quality=95 is usual."
      )
    if self.kind == "jpeg" and self.channels not in (1, 3):
      raise errors.InputError(
        f"pack: a JPEG has 1 or 3 channels, not {self.channels}. Use --kind=raw."
      )

  @property
  def decoder(self) -> decode.Decoder:
    """Makes the decoder that fits images."""
    return decode.Decoder(self.size * 3 // 2, self.channels, shorter=self.size)


def pack(
  opened: dict, to: str, settings: Settings, origin: str, *, workers: int, say: Callable = print
) -> dict:
  """Writes the splits {name: Source} of `opened` into a folder; returns the manifest.

  Files that an interrupted call has written are kept. origin: what the images came from, for the
  manifest. workers: threads, which decode and encode outside of Python. Images that cannot be read
  are left out and listed with the reason. InputError for a folder with another store.
  """
  begun = {
    "format": packed_store.FORMAT,
    "origin": origin,
    **dataclasses.asdict(settings),
    "fingerprints": {name: source.fingerprint for name, source in opened.items()},
  }
  _begin(to, begun)
  entries = {}
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    for name, source in opened.items():
      source = _fitted(source, settings)
      jobs = [
        (f"{name}-{i:05}", np.arange(start, min(start + PER_FILE, len(source))))
        for i, start in enumerate(range(0, len(source), PER_FILE))
      ]
      found = [_file(to, stem, source, rows, settings, pool=pool, say=say) for stem, rows in jobs]
      entries[name] = _entry(to, name, found)
  classes = [list(source.classes) for source in opened.values()]
  whole = {
    **begun,
    "classes": max(classes, key=len),
    "canvas": max([1, *(e.pop("longest") for e in entries.values())]),
    "splits": entries,
  }
  _write(os.path.join(to, packed_store.MANIFEST), whole)
  for name in os.listdir(to):
    if name.endswith(".part.json"):
      os.remove(os.path.join(to, name))
  return whole


def _begin(to: str, begun: dict) -> None:
  """Makes the folder, or checks that what lies in it was begun in the same way."""
  os.makedirs(to, exist_ok=True)
  file = os.path.join(to, "pack.json")
  if not os.path.exists(file):
    if os.listdir(to):
      raise errors.InputError(f"pack --to: {to} is not empty. Give a folder of its own.")
    _write(file, begun)
  with open(file) as opened:
    before = json.load(opened)
  differ = [key for key in begun if before.get(key) != begun[key]]
  if differ:
    shown = "; ".join(f"{key} {before.get(key)!r} there, {begun[key]!r} now" for key in differ)
    raise errors.InputError(
      f"pack --to: {to} was begun in another way ({shown}). Give another folder, or the "
      "same options."
    )


def _fitted(source, settings: Settings):
  """Makes the source decode to the size of the store right away, where it decodes."""
  if isinstance(source, encoded.Encoded):
    known = dataclasses.replace(settings.decoder, limits=source.decoder.limits)
    return dataclasses.replace(source, decoder=known)  # type: ignore[type-var]
  return source


def _file(to: str, stem: str, source, rows: np.ndarray, settings: Settings, *, pool, say) -> dict:
  """Writes one array_record file, unless it is there; returns what the manifest says of it."""
  path, told = os.path.join(to, f"{stem}.array_record"), os.path.join(to, f"{stem}.part.json")
  if os.path.exists(told) and os.path.exists(path):
    with open(told) as opened:
      return json.load(opened)
  from array_record.python import array_record_module

  make = functools.partial(_record, source, settings=settings)
  labels, skipped, longest = [], [], 0
  writer = array_record_module.ArrayRecordWriter(f"{path}.tmp", _OPTIONS)
  for row, made in zip(rows.tolist(), pool.map(make, rows.tolist()), strict=True):
    if isinstance(made, errors.UnreadableError):
      skipped.append({"name": source.names(np.array([row]))[0], "reason": str(made)})
      continue
    label, height, width, _ = packed_store.HEADER.unpack_from(made)
    labels.append(label)
    longest = max(longest, height, width)
    writer.write(made)
  writer.close()
  found: dict = {
    "file": f"{stem}.array_record",
    "images": len(labels),
    "bytes": os.path.getsize(f"{path}.tmp"),
    "hash": _hash(f"{path}.tmp"),
    "labels": labels,
    "skipped": skipped,
    "longest": longest,
  }
  os.replace(f"{path}.tmp", path)
  _write(told, found)
  say(f"{stem}: {len(labels):,} images, {found['bytes'] / 2**20:.1f} MiB, {len(skipped)} skipped")
  return found


def _record(source, row: int, *, settings: Settings) -> bytes | errors.UnreadableError:
  """Encodes one image as it is stored, or says why it cannot be."""
  try:
    batch = source[np.array([row])]
  except errors.UnreadableError as error:
    return error
  height, width = batch["size"][0]
  image = settings.decoder.shrunk(np.ascontiguousarray(batch["image"][0, :height, :width]))
  header = packed_store.HEADER.pack(int(batch["label"][0]), *image.shape)
  if settings.kind == "raw":
    return header + image.tobytes()
  space, sampling = ("RGB", "420") if settings.channels == 3 else ("GRAY", "Gray")
  return header + simplejpeg.encode_jpeg(
    np.ascontiguousarray(image), settings.quality, space, sampling
  )


def _entry(to: str, name: str, found: list[dict]) -> dict:
  """Writes the labels of a split and returns what the manifest says of it."""
  labels = np.array([label for shard in found for label in shard.pop("labels")], np.int32)
  np.save(os.path.join(to, f"{name}-labels.npy"), labels)
  skipped = [entry for shard in found for entry in shard.pop("skipped")]
  longest = max([0, *(shard.pop("longest") for shard in found)])
  return {"images": len(labels), "shards": found, "skipped": skipped, "longest": longest}


def _write(path: str, told: dict) -> None:
  with open(f"{path}.tmp", "w") as file:
    json.dump(told, file, indent=2)
  os.replace(f"{path}.tmp", path)


def _hash(path: str) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
