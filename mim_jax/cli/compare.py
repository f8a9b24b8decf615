"""`mim-jax compare`."""

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Prints results and config differences of several runs, and writes them with curves as HTML."""
  parser = arguments.parser(
    "compare",
    "Put runs beside each other: results over seeds, config differences and, with --out, curves.",
    "mim-jax compare runs/mae_0 runs/mae_1 runs/simmim_0 --out=compare.html",
  )
  parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more run folders")
  parser.add_argument("--out", metavar="FILE.html", help="an HTML file to write, with the curves")
  options = parser.parse_args(argv)

  from mim_jax.evaluate import compare, runs

  groups = runs.read(options.runs)
  print(compare.text(groups))
  if options.out:
    print(f"\nwritten:\n  {compare.write(groups, options.out)}")
  return 0
