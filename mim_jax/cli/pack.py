"""`mim-jax pack`: decoding of a data set, once, into a packed store."""

import argparse
import os

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Decodes a data set once and writes it as a packed store."""
  options = parser().parse_args(argv)

  from mim_jax import config as config_lib
  from mim_jax.data.image import packing

  spec = described(options.source)
  data = config_lib.get_config("mae", spec).data
  settings = packing.Settings(options.size, options.kind, options.quality, len(data.view.mean))
  opened = {}
  for split in filter(None, options.splits.split(",")):
    node = data.test if split == "test" else data.train.copy_and_resolve_references()
    if split not in ("train", "test"):
      node.split = split
    opened[split] = config_lib.build(node)()
  workers = max(1, options.workers)
  made = packing.pack(opened, options.to, settings, spec, workers=workers)
  for split, entry in made["splits"].items():
    print(f"{split}: {entry['images']:,} images, {len(entry['skipped'])} left out")
    for skipped in entry["skipped"][:5]:
      print(f"  {skipped['reason']}")
  print(f"to train on it: dataset=packed,path={options.to}")
  arguments.name_files([options.to])
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax pack`."""
  made = arguments.parser(
    "pack",
    "--from=SOURCE --to=DIR [OPTION ...]",
    "Decode a data set once, shrink it, and write it into a folder that reads fast.\n"
    "Then train with dataset=packed,path=DIR. Interrupted, the same command resumes.",
    "mim-jax pack --from=photos --to=photos-256 --size=256",
  )
  made.add_argument(
    "--from",
    dest="source",
    required=True,
    metavar="SOURCE",
    help="a folder of images or tar shards, a .npz file, a TFDS name, or "
    "arguments of a config: dataset=folder,path=photos,channels=1",
  )
  made.add_argument("--to", required=True, metavar="DIR", help="the folder; made if absent")
  made.add_argument(
    "--size",
    type=int,
    default=256,
    metavar="N",
    help="pixels of the shorter side, at most (default 256)",
  )
  made.add_argument(
    "--kind", default="jpeg", metavar="NAME", help="jpeg (default) or raw: ten times larger"
  )
  made.add_argument(
    "--quality", type=int, default=95, metavar="N", help="of the JPEGs (default 95)"
  )
  made.add_argument(
    "--splits", default="train,test", metavar="A,B", help="which to pack (default train,test)"
  )
  made.add_argument(
    "--workers",
    type=int,
    default=os.cpu_count(),
    metavar="N",
    help="threads (default: one a processor)",
  )
  return made


def described(source: str) -> str:
  """Describes what `--from` names, as the arguments of a config."""
  if os.path.isdir(source):
    tars = any(name.endswith(".tar") for _, _, files in os.walk(source) for name in files)
    return f"dataset={'shards' if tars else 'folder'},path={source}"
  if os.path.exists(source):
    return f"dataset=arrays,path={source}"
  return source if "=" in source else f"dataset={source}"
