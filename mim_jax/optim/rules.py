"""Rules by parameter name: (regex, value) pairs, which must cover every parameter."""

import re

import jax

from mim_jax.errors import InputError


def name(path) -> str:
  """Joins the path of a leaf as 'encoder/stack/block_00/norm1/scale'."""
  return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def named_leaves(tree) -> list[tuple[str, object]]:
  """Lists [(name, leaf), ...] in the order of the tree."""
  return [(name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def match_rules(rules, tree, what: str):
  """Maps every leaf to the value of the first rule whose regex is found in its name.

  Errors: InputError when a leaf is matched by no rule.
  """
  compiled = [(re.compile(pattern), value) for pattern, value in rules]

  def choose(path, _):
    for pattern, value in compiled:
      if pattern.search(name(path)):
        return value
    patterns = ", ".join(repr(p.pattern) for p, _ in compiled)
    raise InputError(
      f"{what}: no rule covers the parameter {name(path)!r}. Rules: {patterns}. "
      "Add a pair (regex, value) for it; ('.*', value) at the end covers the rest."
    )

  return jax.tree_util.tree_map_with_path(choose, tree)
