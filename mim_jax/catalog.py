"""What the configs say of themselves: a row a method, for the command line and the README."""

import ast
import functools
import importlib
import inspect
import json
import pathlib
import statistics
import textwrap

import ml_collections

from mim_jax import config as config_lib
from mim_jax import errors, modalities

ROOMS = (
  "masks",
  "corruptions",
  "tokenizers",
  "encoders",
  "predictors",
  "heads",
  "targets",
  "losses",
)
COLUMNS = {
  "name": "method",
  "paper": "paper",
  "family": "family",
  "status": "status",
  "objective": "objective",
  "parts": "parts",
  "flops": "FLOPs, MAE = 1",
  "time": "step time, MAE = 1",
  "published": "published",
  "ours": "ours: digits, 10 labels a class",
}
SHORT = ("name", "paper", "family", "status", "flops", "published")  # of the README
CHOSEN = (
  "mae", "simmim", "beit", "ijepa", "ibot", "hpm", "capi", "spark", "videomae", "bert",
)  # fmt: skip
STATED = ("reference", "numbers", "published", "differs")  # in the first lines of a config
STATUSES = {
  "tested": "all promises of tests/test_methods.py, its mechanism in tests/methods",
  "parity": "held to a reference, experiments/parity",
  "compared": "with a record beside others, experiments/methods_digits",
}


def rows(family: str = "", search: str = "") -> list[dict[str, str]]:
  """Makes a row for every config, MAE first: {column: text}.

  family: only those of this folder of configs. search: only those that say these words.
  """
  found = sorted(config_lib.names(), key=lambda name: (name != "mae", name))
  families = sorted({family_of(name) for name in found})
  if family and family not in families:
    raise errors.unknown("--family", family, families)
  words = search.casefold().split()
  found = [name for name in found if not family or family_of(name) == family]
  kept = [name for name in found if all(word in said(name).casefold() for word in words)]
  return [row(name) for name in kept]


def chosen() -> list[dict[str, str]]:
  """Makes the rows of the README."""
  return [row(name) for name in CHOSEN]


def counts() -> str:
  """Says how many methods there are, of which family and status."""
  names = config_lib.names()
  families = [family_of(name) for name in names]
  reached = [word for name in names for word in status(name)]
  return f"{len(names)} methods ({_many(families)}); {_many(sorted(reached, reverse=True))}"


def _many(words: list[str]) -> str:
  """Counts words: '13 image, 1 video'."""
  return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


@functools.cache
def row(name: str) -> dict[str, str]:
  """Makes the row of one config.

  FLOPs are those of a training sample at size B, as traced (experiments/flops); step time and ours
  come from the records of experiments/methods_digits, where every method has the same encoder and
  budget. What has no record gets "–".
  """
  facts, c = stated(name), config_of(name)
  return {
    "name": name,
    "paper": facts["title"].partition(": ")[2] or facts["title"],
    "family": family_of(name),
    "status": ", ".join(status(name)),
    "objective": c.objective.part.rpartition(".")[2],
    "parts": ", ".join(sorted({p.rpartition(".")[2] for p in named(c) if room(p) in ROOMS})),
    "flops": relative_cost(name),
    "time": relative_time(name),
    "published": facts.get("published", "–"),
    "ours": our_number(records("results", name)),
  }


def family_of(name: str) -> str:
  """Finds the family of a config: its folder, a modality."""
  return config_lib.files()[name].parent.name


def task_of_all(name: str) -> str:
  """Says the arguments by which methods are traced and counted alike: size B on embedded data.

  A modality may state others, as its COUNTED: those that bring its samples to the published shape.
  """
  own = getattr(modalities.named(family_of(name)), "COUNTED", {})
  return "size=B,dataset=embedded" + "".join(f",{key}={value}" for key, value in own.items())


def status(name: str) -> list[str]:
  """Lists what is known of a method, of STATUSES."""
  networks = _experiments("parity") / "results.jsonl"
  held = [json.loads(line)["network"] for line in _lines(networks)]
  parity = any(network.split(",")[0].split()[0] == name for network in held)
  compared = bool(records("results", name))
  return ["tested", *["parity"] * parity, *["compared"] * compared]


def said(name: str) -> str:
  """Everything that a config says of itself in words: its name, first lines and parts."""
  text = ast.get_docstring(ast.parse(config_lib.files()[name].read_text())) or ""
  return " ".join([name, family_of(name), text, *row(name).values()])


def whole(name: str) -> str:
  """Tells all of one method: what its config states, how to run it, cost, numbers and records."""
  if name not in config_lib.names():
    raise errors.unknown("method", name, config_lib.names())
  facts, own = stated(name), row(name)
  label = facts["title"].partition(":")[0]
  flop = flops(name)
  lines = [f"{label}: {own['paper']}", ""]
  told: dict[str, str] = {
    "run": f"mim-jax train --config={name} --workdir=runs/{name}",
    "laptop": f"mim-jax train --config={name}:dataset=embedded --workdir=runs/{name}_laptop",
    "config": str(config_lib.files()[name]),
    **{key: facts[key] for key in STATED if key in facts},
    "status": own["status"],
    "objective": own["objective"],
    "parts": own["parts"],
    "cost": f"{flop / 1e9:.1f} GFLOP a training sample at size B ({own['flops']} x MAE's)"
    if flop
    else "not recorded",
    "step time": f"{own['time']} x MAE's, same encoder",
    "ours": our_record(name),
    "remarks": facts.get("remarks", ""),
  }
  for key, text in told.items():
    if text:
      lines += textwrap.wrap(
        text, 100, initial_indent=f"{key + ':':<11}", subsequent_indent=" " * 11
      )
  return "\n".join(lines)


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
  """Finds the room of a dotted name: 'masks' of 'mim_jax.masks.random'."""
  return dotted.split(".")[1]


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


def _experiments(name: str) -> pathlib.Path:
  return config_lib.folder().parent / "experiments" / name


def _lines(file: pathlib.Path) -> list[str]:
  """The lines of a file; none where it is not at hand (a wheel)."""
  return file.read_text().splitlines() if file.exists() else []


def records(kind: str, name: str) -> list[dict]:
  """Reads the records of one method in experiments/methods_digits: "results" or "step_times"."""
  file = _experiments("methods_digits") / kind / f"{name}.jsonl"
  return [json.loads(line) for line in _lines(file)]


def flops(name: str) -> float | None:
  """Reads the traced FLOPs of one training sample at size B from the records; None without one."""
  lines = _lines(_experiments("flops") / f"{name}.json")
  return json.loads("\n".join(lines))["flops"] if lines else None


def relative_cost(name: str) -> str:
  """Divides the FLOPs of a training sample at size B by MAE's; '–' without a record."""
  own, mae = flops(name), flops("mae")
  return f"{own / mae:.2f}" if own and mae else "–"


def relative_time(name: str) -> str:
  """Reads the median of seconds a step over MAE's, measured in turns, from the newest record."""
  found = records("step_times", name)
  return f"{found[-1]['ratio_to_mae'][1]:.2f}" if found else "–"


def our_number(found: list[dict]) -> str:
  """Formats '88.0 ± 1.2 %' of the records of a method."""
  values = [100 * r["scores"]["linear_10"]["pretrained"] for r in found]
  if len(values) < 2:
    return "–"
  return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} %"


def our_record(name: str) -> str:
  """Tells our number with where it comes from."""
  found = records("results", name)
  if not found:
    return "no record"
  facts = found[-1]
  return (
    f"{our_number(found)} with 10 labels a class on the digits ({facts['step']} steps, "
    f"{len(found)} seeds, {facts['hardware']}, {facts['date']}, commit {facts['commit']})"
  )


def markdown(found: list[dict[str, str]], columns=SHORT) -> str:
  """Makes a Markdown table of rows."""
  lines = [[COLUMNS[key] for key in columns], ["---"] * len(columns)]
  lines += [[r[key] for key in columns] for r in found]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)
