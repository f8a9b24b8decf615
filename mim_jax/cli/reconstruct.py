"""`mim-jax reconstruct`."""

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Draws original, masked and reconstructed images with the newest checkpoint of a run."""
  parser = arguments.parser(
    "reconstruct",
    "Draw original | masked | reconstruction for the first images of a folder.",
    "mim-jax reconstruct --workdir=runs/digits --images=photos --out=photos.png",
  )
  parser.add_argument("--workdir", required=True, metavar="DIR", help="a run folder")
  parser.add_argument(
    "--images",
    metavar="FOLDER",
    help="a folder of what the run was trained on: images or clips; default: the run's test set",
  )
  parser.add_argument("--out", required=True, metavar="FILE.png", help="the picture to write")
  parser.add_argument("--count", type=int, default=8, help="how many images (default 8)")
  parser.add_argument("--seed", type=int, default=0, help="of the mask (default 0)")
  options = parser.parse_args(argv)

  from mim_jax import run
  from mim_jax.train import cache

  cache.start()
  note = run.reconstruct(options.workdir, options.images, options.out, options.count, options.seed)
  print(f"{note}\n\nwritten:\n  {options.out}")
  return 0
