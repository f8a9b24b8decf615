"""What the configs say of themselves: a row a method, for the command line and the README."""

import ast
import functools
import importlib
import inspect
import json
import statistics

import ml_collections

from mim_jax import config as config_lib

ROOMS = ("masks", "tokenizers", "encoders", "predictors", "targets", "losses")
COLUMNS = {
  "name": "method",
  "paper": "paper",
  "objective": "objective",
  "parts": "parts",
  "lines": "own lines",
  "flops": "FLOPs, MAE = 1",
  "time": "step time, MAE = 1",
  "published": "published",
  "ours": "ours: digits, 10 labels a class",
}


def rows() -> list[dict[str, str]]:
  """A row for every config, MAE first: {column: text}."""
  names = sorted(config_lib.names(), key=lambda name: (name != "mae", name))
  return [row(name) for name in names]


def row(name: str) -> dict[str, str]:
  """The row of one config.

  FLOPs are those of a training sample at size B, as traced (experiments/flops); step time and ours
  come from the records of experiments/methods_digits, where every method has the same encoder and
  budget; own lines are those of functions and classes that no other config names.
  """
  facts, c = stated(name), config_of(name)
  found = records()
  return {
    "name": name,
    "paper": facts["title"].partition(": ")[2] or facts["title"],
    "objective": c.objective.part.rpartition(".")[2],
    "parts": ", ".join(sorted({p.rpartition(".")[2] for p in named(c) if room(p) in ROOMS})),
    "lines": str(own_lines(name)),
    "flops": relative_cost(name),
    "time": relative_time(name),
    "published": facts.get("published", "–"),
    "ours": our_number(found, name),
  }


def stated(name: str) -> dict[str, str]:
  """The facts in the first lines of a config: title, and every 'Key: value', unwrapped."""
  text = ast.get_docstring(ast.parse(config_lib.files()[name].read_text())) or ""
  facts, key = {"title": ""}, "title"
  for line in text.splitlines():
    head, colon, value = line.partition(":")
    if not line.strip():
      key = "remarks"
    elif colon and head.istitle() and head.isalpha():
      key, line = head.lower(), value
    facts[key] = f"{facts.get(key, '')} {line.strip()}".strip()
  return facts


@functools.cache
def config_of(name: str) -> ml_collections.ConfigDict:
  """The config at size B, or at its own size where it has no B."""
  return config_lib.get_config(name, "size=B")


def named(value) -> set[str]:
  """All dotted names of nodes in a config."""
  if isinstance(value, ml_collections.ConfigDict):
    own = {value.part} if "part" in value and isinstance(value.part, str) else set()
    return own.union(*(named(v) for v in value.values()))
  if isinstance(value, list | tuple):
    return set().union(*(named(v) for v in value))
  return set()


def room(dotted: str) -> str:
  """'masks' of 'mim_jax.masks.uniform.random'."""
  return dotted.split(".")[1]


def own_lines(name: str) -> int:
  """Lines of code, without comments and docstrings, that only this method's config names."""
  others = [named_by(other) for other in config_lib.names() if other != name]
  return sum(map(code_lines, named_by(name).difference(*others)))


@functools.cache
def named_by(name: str) -> set[str]:
  """All dotted names of nodes in the config of a method."""
  return named(config_of(name))


def code_lines(dotted: str) -> int:
  """Lines of code of a function or class, by its dotted name."""
  module, _, thing = dotted.rpartition(".")
  source = inspect.getsource(getattr(importlib.import_module(module), thing))
  return lines_of(source)


def lines_of(source: str) -> int:
  """Lines of code of a text, without blank lines, comments and docstrings."""
  skipped: set[int] = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
      skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
  code = [text.strip() for i, text in enumerate(source.splitlines(), 1) if i not in skipped]
  return sum(1 for text in code if text and not text.startswith("#"))


def records(file: str = "results.jsonl") -> list[dict]:
  """A file of records of experiments/methods_digits; [] where it is not at hand (a wheel)."""
  path = config_lib.folder().parent / "experiments" / "methods_digits" / file
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def flops(name: str) -> float | None:
  """Reads the traced FLOPs of one training sample at size B from the records; None without one."""
  path = config_lib.folder().parent / "experiments" / "flops" / f"{name}.json"
  return json.loads(path.read_text())["flops"] if path.exists() else None


def relative_cost(name: str) -> str:
  """Divides the FLOPs of a training sample at size B by MAE's; '–' without a record."""
  own, mae = flops(name), flops("mae")
  return f"{own / mae:.2f}" if own and mae else "–"


def relative_time(name: str) -> str:
  """Median seconds a step over MAE's, measured in turns, from the newest record."""
  measured = records("step_times.jsonl")
  if not measured or name not in measured[-1]["ratio_to_mae"]:
    return "–"
  return f"{measured[-1]['ratio_to_mae'][name][1]:.2f}"


def our_number(found: list[dict], name: str) -> str:
  """'88.0 ± 1.2 %' from the records."""
  values = [100 * r["scores"]["linear_10"]["pretrained"] for r in found if r["method"] == name]
  if len(values) < 2:
    return "–"
  return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} %"


def markdown(found: list[dict[str, str]]) -> str:
  """The rows as a Markdown table."""
  lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS), *(list(r.values()) for r in found)]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)
