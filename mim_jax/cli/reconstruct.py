"""`mim-jax reconstruct`: a run's predictions of what was masked."""

import argparse

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Draws original, masked and reconstructed samples with the newest checkpoint of a run."""
  options = parser().parse_args(argv)

  from mim_jax import run
  from mim_jax.devices import compilation_cache

  compilation_cache.start()
  note = run.reconstruct(options.workdir, options.path, options.out, options.count, options.seed)
  print(note)
  arguments.name_files([options.out])
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax reconstruct`."""
  made = arguments.parser(
    "reconstruct",
    "--workdir=DIR --out=FILE.png [OPTION ...]",
    "Draw original | masked | reconstruction of the first samples of a folder.",
    "mim-jax reconstruct --workdir=runs/mae --from=photos --out=photos.png",
  )
  made.add_argument("--workdir", required=True, metavar="DIR", help="a run folder")
  made.add_argument(
    "--from", "--images", dest="path", metavar="PATH", help="own files; default: the test set"
  )
  made.add_argument("--out", required=True, metavar="FILE.png", help="the picture to write")
  made.add_argument("--count", type=int, default=8, metavar="N", help="of samples (default 8)")
  made.add_argument("--seed", type=int, default=0, metavar="N", help="of the mask (default 0)")
  return made
