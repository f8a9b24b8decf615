"""`mim-jax methods`: the methods with their papers and numbers."""

import argparse

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Lists every method: paper, objective, parts, cost against MAE, published and own number."""
  options = parser().parse_args(argv)

  from mim_jax import catalog

  rows = catalog.rows()
  if options.markdown:
    print(catalog.markdown(rows))
    return 0
  for row in rows:
    print(row["name"])
    for key, title in list(catalog.COLUMNS.items())[1:]:
      print(f"  {title + ':':<34}{row[key]}")
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of `mim-jax methods`."""
  made = arguments.parser(
    "methods",
    "[--markdown]",
    "List the methods: paper, objective, parts, cost, published and own number.",
    "mim-jax methods --markdown",
  )
  made.add_argument("--markdown", action="store_true", help="print the table of the README")
  return made
