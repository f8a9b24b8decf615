"""`mim-jax methods`."""

import argparse

from mim_jax import errors
from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Lists the methods, a line each, or tells all of one."""
  options = parser().parse_args(argv)

  from mim_jax import catalog

  if options.name:
    print(catalog.whole(options.name))
    return 0
  rows = catalog.rows(options.family, options.search)
  if not rows:
    raise errors.InputError(
      f"--search={options.search}: no method says so. Leave words out, or see all: mim-jax methods."
    )
  if options.markdown:
    print(catalog.markdown(rows, tuple(catalog.COLUMNS)))
    return 0
  for row in rows:
    title = row["paper"].partition(" (")[0]
    print(f"{row['name']:<12}{row['family']:<7}{row['flops']:>6}  {row['status']:<26}{title}"[:120])
  print(f"\n{catalog.counts()}. FLOPs: MAE = 1. All of one: mim-jax methods {rows[0]['name']}")
  return 0


def parser() -> argparse.ArgumentParser:
  """The options of `mim-jax methods`."""
  made = arguments.parser(
    "methods",
    "[NAME] [--family=NAME] [--search=WORDS] [--markdown]",
    "List the methods, a line each; with NAME all of one: paper, how to run it,\n"
    "what differs, cost, published and own number with its record.",
    "mim-jax methods hpm",
  )
  made.add_argument("name", nargs="?", metavar="NAME", help="tell all of this method")
  made.add_argument("--family", default="", metavar="NAME", help="only those of this family")
  made.add_argument("--search", default="", metavar="WORDS", help="only those that say all")
  made.add_argument("--markdown", action="store_true", help="print the full table")
  return made
