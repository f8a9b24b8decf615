"""`mim-jax pack`."""

import os

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Decodes a data set once and writes it as a packed store."""
  options = parsed(argv)

  from mim_jax import config as config_lib
  from mim_jax.data import packing

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
  print(f"\nwritten:\n  {options.to}\nto train on it: dataset=packed,path={options.to}")
  return 0


def parsed(argv: list[str]):
  """The options of the command."""
  parser = arguments.parser(
    "pack",
    "Decode a data set once, shrink it, and write it into a folder that reads much faster.\n"
    "Then train with dataset=packed,path=DIR. The same command goes on after an interruption.",
    "mim-jax pack --from=photos --to=photos-256 --size=256",
  )
  parser.add_argument(
    "--from",
    dest="source",
    required=True,
    metavar="SOURCE",
    help="a folder of images or of tar shards, a .npz file, the name of a TFDS data set, or the "
    "arguments of a config: dataset=folder,path=photos,channels=1",
  )
  parser.add_argument("--to", required=True, metavar="DIR", help="the folder; made if absent")
  parser.add_argument(
    "--size", type=int, default=256, help="pixels of the shorter side, at most (default 256)"
  )
  parser.add_argument("--kind", default="jpeg", help="jpeg (default) or raw: ten times larger")
  parser.add_argument("--quality", type=int, default=95, help="of the JPEGs (default 95)")
  parser.add_argument("--splits", default="train,test", help="which to pack (default train,test)")
  parser.add_argument(
    "--workers", type=int, default=os.cpu_count(), help="threads (default: one a processor)"
  )
  return parser.parse_args(argv)


def described(source: str) -> str:
  """What `--from` names, as the arguments of a config."""
  if os.path.isdir(source):
    tars = any(name.endswith(".tar") for _, _, files in os.walk(source) for name in files)
    return f"dataset={'shards' if tars else 'folder'},path={source}"
  if os.path.exists(source):
    return f"dataset=arrays,path={source}"
  return source if "=" in source else f"dataset={source}"
