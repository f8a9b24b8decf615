"""`mim-jax methods`."""

from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Every method: paper, objective, parts, cost against MAE, published and own number."""
  parser = arguments.parser(
    "methods",
    "List the methods with paper, objective, parts, cost against MAE, published and own number.",
    "mim-jax methods --markdown",
  )
  parser.add_argument("--markdown", action="store_true", help="print the table of the README")
  options = parser.parse_args(argv)

  from mim_jax import methods

  rows = methods.rows()
  if options.markdown:
    print(methods.markdown(rows))
    return 0
  for row in rows:
    print(row["name"])
    for key, title in list(methods.COLUMNS.items())[1:]:
      print(f"  {title + ':':<34}{row[key]}")
  return 0
