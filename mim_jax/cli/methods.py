"""`mim-jax methods`."""

import ast

from mim_jax import config as config_lib
from mim_jax.cli import arguments


def main(argv: list[str]) -> int:
  """Every method: paper, objective, published and own number, as its config states them."""
  parser = arguments.parser("methods", "List the methods.", "mim-jax methods")
  parser.parse_args(argv)
  for name in config_lib.names():
    facts = read(name)
    print(f"{name}: {facts.pop('title')}")
    for key, value in facts.items():
      print(f"  {key + ':':<11}{value}")
  return 0


def read(name: str) -> dict[str, str]:
  """The facts in the first lines of a config: title, and every 'Key: value' line."""
  text = ast.get_docstring(ast.parse((config_lib.folder() / f"{name}.py").read_text())) or ""
  first, _, rest = text.partition("\n")
  facts = {"title": first}
  for line in rest.splitlines():
    key, colon, value = line.partition(":")
    if colon and key and " " not in key.strip().replace("Reference implementation", "Reference"):
      facts[key.strip().lower()] = value.strip()
  return facts
