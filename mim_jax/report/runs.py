"""Reading of run folders, and grouping of runs by config."""

import dataclasses
import itertools
import json
import pathlib
import re

from mim_jax import errors
from mim_jax.errors import InputError
from mim_jax.evaluate import numbers
from mim_jax.monitor import metrics
from mim_jax.report import curves

ENCODER = "pretrained"  # whose scores are read
EVAL = "eval/"  # how the names of evaluations while training begin in metrics.jsonl
FIRST = ("loss", "learning_rate", "gradient_norm", "samples_per_second")


@dataclasses.dataclass(frozen=True)
class Run:
  """Holds what a run folder says of a run.

  Attributes:
    name: the end of its path.
    config: {'objective.mask.ratio': 0.75, ...}.
    lines: one dict a logged step.
    scores: {(evaluation, number): mean over the evaluation's seeds}.
    protocols: {evaluation: {setting: its value in words}}.
    data: the fingerprint of the training samples; None where that is not known yet.
    rate: samples a second; None where that is not known yet.
  """

  name: str
  config: dict
  lines: list
  scores: dict
  protocols: dict
  data: str | None
  rate: float | None


@dataclasses.dataclass(frozen=True)
class Group:
  """Groups runs that differ in nothing but the seed."""

  name: str
  runs: list[Run]


def read(folders) -> list[Group]:
  """Reads the runs in two or more folders, by config. InputError without anything to compare."""
  paths = [pathlib.Path(folder) for folder in folders]
  if len(paths) < 2:
    raise InputError(f"compare: {len(paths)} run folder given; give two or more.")
  whole = [path.resolve() for path in paths]
  for path, place in zip(paths, whole, strict=True):
    if whole.count(place) > 1:
      raise InputError(f"compare: {path} is given twice, and a run counts once. Leave one out.")
  return grouped([_read(path, name) for path, name in zip(paths, _names(whole), strict=True)])


def _read(path: pathlib.Path, name: str) -> Run:
  if not path.is_dir():
    near = [str(folder) for folder in path.parent.glob("*/")] if path.parent.is_dir() else []
    raise InputError(f"compare: there is no run folder {path}{errors.nearest(str(path), near)}")
  if not (path / "config.json").exists():
    raise InputError(f"compare: {path} has no config.json, so it is no run folder.")
  lines = read_metrics(path / "metrics.jsonl")
  results = read_json(path / "results.json")
  if not lines and not results:
    raise InputError(
      f"compare: {path} has neither metrics nor results yet. Train it first, or leave it out."
    )
  found = child(results, "evaluations")
  own = {e: child(child(entry, "results"), ENCODER) for e, entry in found.items()}
  protocols = {e: flat(child(entry, "protocol")) for e, entry in found.items()}
  return Run(
    name,
    flat(read_json(path / "config.json")),
    lines,
    {(e, key): _score(number) for e, found in own.items() for key, number in found.items()},
    {e: {k: plain(v) for k, v in protocol.items()} for e, protocol in protocols.items()},
    child(results, "dataset").get("fingerprint"),
    metrics.current(child(results, "cost")).get("samples_per_second"),
  )


def _score(number: dict) -> numbers.Number:
  return numbers.Number(number["mean"], numbers.unit_of(number))


def flat(config: dict, prefix: str = "") -> dict:
  """Flattens nested dicts: {'objective.mask.ratio': 0.75, ...}."""
  found = {}
  for key, value in config.items():
    found.update(
      flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    )
  return found


def _names(paths: list[pathlib.Path]) -> list[str]:
  """Shortens each path to as much of its end as tells all of them apart."""
  for count in range(1, max(len(path.parts) for path in paths) + 1):
    found = ["/".join(path.parts[-count:]) for path in paths]
    if len(set(found)) == len(found):
      break
  return found


def grouped(runs: list[Run]) -> list[Group]:
  """Groups runs by their config but for its seed; a seed that comes again begins another group."""
  found: dict[tuple, list[Run]] = {}
  for run in runs:
    rest = repr(sorted((k, v) for k, v in run.config.items() if k != "seed"))
    turn = 0
    while run.config.get("seed") in {
      other.config.get("seed") for other in found.get((rest, turn), [])
    }:
      turn += 1
    found.setdefault((rest, turn), []).append(run)
  return [Group(_common([run.name for run in same]), same) for same in found.values()]


def _common(names: list[str]) -> str:
  """Finds what the names of a group have in common, and how many they are."""
  if len(names) == 1:
    return names[0]
  same = (a for a, *_ in itertools.takewhile(lambda x: len(set(x)) == 1, zip(*names, strict=False)))
  begin = re.sub(r"([-_. /]+(seed|s)?|seed)?[-_=]*\d*$", "", "".join(same))
  return f"{begin} × {len(names)}" if begin else f"{names[0]} and {len(names) - 1} more"


def read_metrics(file: pathlib.Path) -> list[dict]:
  """Reads one dict a step, in order.

  Of a number written twice (a resumed run) the later one counts.
  """
  steps = {}
  for text in (
    file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ()
  ):
    try:
      line = json.loads(text)
    except ValueError:
      continue  # cut short by a crash
    line = metrics.current(line) if isinstance(line, dict) else line
    if isinstance(line, dict) and curves.number(line.get("step")) != "–":
      steps[line["step"]] = {**steps.get(line["step"], {}), **line}
  return [steps[step] for step in sorted(steps)]


def logged_points(lines: list[dict], name: str) -> list[tuple]:
  """Lists (step, value) of every line that has this number."""
  return [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]


def logged(lines: list[dict]) -> list[str]:
  """Names the numbers in lines of metrics, the usual ones first."""
  names = dict.fromkeys([*FIRST, *(key for line in lines for key in line)])
  return [n for n in names if n != "step" and not n.startswith("seconds")]


def plain(value) -> str:
  """Formats a setting: '[0.75, none]'."""
  if isinstance(value, list | tuple):
    return "[" + ", ".join(map(plain, value)) + "]"
  if isinstance(value, bool) or value is None:
    return str(value).lower() if value is not None else "none"
  return f"{value:g}" if isinstance(value, float) else str(value)


def child(parent: dict, key: str) -> dict:
  """Finds the dict under a key; {} where there is none."""
  value = parent.get(key)
  return value if isinstance(value, dict) else {}


def read_json(file: pathlib.Path) -> dict:
  """Reads the dict in a JSON file; {} where there is no file. InputError where it is not JSON."""
  if not file.exists():
    return {}
  try:
    found = json.loads(file.read_text(encoding="utf-8"))
  except ValueError as error:
    raise InputError(f"{file}: not JSON ({error}). Mend it or remove it.") from error
  return found if isinstance(found, dict) else {}
