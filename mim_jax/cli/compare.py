"""`mim-jax compare`: several runs beside each other."""

import argparse

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Prints results and config differences of several runs, and writes them with curves as HTML."""
  options = parser().parse_args(argv)

  from mim_jax.report import comparison, runs

  groups = runs.read(options.runs)
  print(comparison.text(groups))
  if options.out:
    arguments.name_files([comparison.write(groups, options.out)])
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax compare`."""
  made = arguments.parser(
    "compare",
    "RUN RUN ... [--out=FILE.html]",
    "Put runs beside each other: results over seeds, config differences and curves.",
    "mim-jax compare runs/mae_0 runs/mae_1 runs/simmim --out=compare.html",
  )
  made.add_argument("runs", nargs="+", metavar="RUN", help="two or more run folders")
  made.add_argument("--out", metavar="FILE.html", help="an HTML file to write, with the curves")
  return made
