"""Comparison of runs: curves, results over seeds, and the differences between their configs."""

import dataclasses
import math
import pathlib
import statistics

import numpy as np

from mim_jax.errors import InputError
from mim_jax.evaluate import numbers, runner
from mim_jax.report import curves, report, runs
from mim_jax.report.runs import Group, Run

SPREAD = (
  "± is one sample standard deviation over runs that differ in nothing but the seed; a run alone "
  "has none."
)
WIDEST = 44  # letters of a value in the terminal


@dataclasses.dataclass
class Cell:
  """Holds a number of a group: mean over its runs, in words, one by one, and its unit.

  `fraction` is the mean of what is a fraction of 1, which a bar shows.
  """

  mean: float
  text: str
  each: str
  fraction: float | None = None
  best: bool = False
  unit: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
  """Holds a group's row of the table; a cell is None where no run has the number."""

  name: str
  seeds: str
  cells: list[Cell | None]


def table(groups: list[Group]) -> tuple[list[tuple[str, str]], list[Row]]:
  """Makes (columns, rows): (name, small print) a column.

  Of each evaluation the best is marked: the highest, of errors the lowest.
  """
  keys = list(dict.fromkeys(key for run in _runs(groups) for key in run.scores))
  rows = []
  for group in groups:
    plain = [[get(run) for run in group.runs] for get in PLAIN.values()]
    scores = [[run.scores.get(key) for run in group.runs] for key in keys]
    cells = [_cell(values, False) for values in plain] + [_cell(values, True) for values in scores]
    seeds = ", ".join(str(run.config.get("seed", "–")) for run in group.runs)
    rows.append(Row(group.name, seeds, cells))
  for column in list(zip(*(row.cells for row in rows), strict=True))[len(PLAIN) :]:
    found = [cell for cell in column if cell and math.isfinite(cell.mean)]
    for cell in found:
      cell.best = len(found) > 1 and cell.mean == numbers.best((c.mean for c in found), cell.unit)
  return list(PLAIN) + keys, rows


def _cell(values: list, score: bool) -> Cell | None:
  """Formats a score as the report writes it; other numbers are never fractions of something."""
  found = [value for value in values if isinstance(value, int | float)]
  if not found:
    return None
  mean, several = statistics.fmean(found), len(found) > 1 and all(map(math.isfinite, found))
  spread, unit = statistics.stdev(found) if several else None, getattr(found[0], "unit", "")
  text = curves.number(mean) + (f" ± {curves.number(spread, 2)}" if spread else "")
  text = numbers.in_words(dict(mean=mean, spread=spread, unit=unit)) if score else text
  fraction = mean if unit == numbers.FRACTION and 0 <= mean <= 1 else None
  return Cell(mean, text, ", ".join(map(curves.number, found)), fraction, unit=unit)


def _step(run: Run):
  return run.lines[-1]["step"] if run.lines else None


def _loss(run: Run):
  """Averages the last logged losses."""
  _, values = series(run, "loss")
  return float(curves.smoothed(values)[-1]) if values else None


def _rate(run: Run):
  return run.rate


PLAIN = {("step", ""): _step, ("loss", "at the end"): _loss, ("samples", "a second"): _rate}


def series(run: Run, name: str) -> tuple[list, list]:
  """Reads (steps, values) of a number that was logged."""
  points = runs.logged_points(run.lines, name)
  return ([p[0] for p in points], [p[1] for p in points])


def charts(groups: list[Group]) -> list[curves.Overlay]:
  """Draws an overlay over steps for each number that two groups have logged.

  Over samples where batches differ in size.
  """
  sizes = [group.runs[0].config.get("train.batch_size", 1) for group in groups]
  unit = "step" if len(set(sizes)) == 1 else "sample"
  found = []
  for name in runs.logged([line for run in _runs(groups) for line in run.lines]):
    lines = []
    for group, size in zip(groups, sizes, strict=True):
      scale = 1 if unit == "step" else size
      own = [(np.asarray(steps) * scale, values) for steps, values in _logged(group, name)]
      lines += [(group.name, own)] if own else []
    if sum(len(own) for _, own in lines) > 1:
      smooth = name != "learning_rate" and not name.startswith(runs.EVAL)
      said = name.removeprefix(runs.EVAL).replace("_", " ")
      found.append(curves.overlay(said, lines, unit, smooth))
  return found


def _logged(group: Group, name: str) -> list:
  """Reads the series of a group's runs, if they have steps in common and anything finite."""
  own = [series(run, name) for run in group.runs]
  own = [(steps, values) for steps, values in own if any(map(math.isfinite, values))]
  shared = set.intersection(*(set(steps) for steps, _ in own)) if own else set()
  return own if shared else []


def differences(groups: list[Group]) -> list[tuple[str, list[str]]]:
  """Lists (key, its value in each group) of the config's keys that differ; seeds are left out.

  Where parts differ, what only one of them can be set to goes without saying.
  """
  configs = [group.runs[0].config for group in groups]
  keys = sorted({key for config in configs for key in config} - {"seed"})
  rows = [(key, [runs.plain(c[key]) if key in c else "–" for c in configs]) for key in keys]
  rows = [(key, values) for key, values in rows if len(set(values)) > 1]
  parts = tuple(key.removesuffix("part") for key, _ in rows if key.endswith(".part"))
  own = [key.startswith(parts) and not key.endswith(".part") and "–" in v for key, v in rows]
  return [row for row, implied in zip(rows, own, strict=True) if not implied]


def notes(groups: list[Group]) -> list[str]:
  """Lists what a reader must know before believing the comparison."""
  every, found = _runs(groups), [SPREAD]
  for name in dict.fromkeys(name for run in every for name in run.protocols):
    those = [run for run in every if name in run.protocols]
    keys = sorted({key for run in those for key in run.protocols[name]})
    said = {key: dict.fromkeys(run.protocols[name].get(key, "–") for run in those) for key in keys}
    unlike = [f"{key} ({' | '.join(values)})" for key, values in said.items() if len(values) > 1]
    if unlike:
      found.append(f"{name} was not measured alike: {', '.join(unlike)}.")
  if len({run.data for run in every} - {None}) > 1:
    found.append("The runs were trained on different samples.")
  if any(key.startswith("objective.") for key, _ in differences(groups)):
    found.append("The objectives differ: the heights of their losses can't be compared.")
  if len({_step(run) for run in every}) > 1:
    found.append("The runs are not equally long.")
  without = [run.name for run in every if not run.scores]
  return found + ([f"Without evaluations: {', '.join(without)}."] if without else [])


def _runs(groups: list[Group]) -> list[Run]:
  return [run for group in groups for run in group.runs]


def text(groups: list[Group]) -> str:
  """Formats results, differences between the configs, and notes, for the terminal."""
  heads, rows = table(groups)
  lines = [["", "seeds", *(" ".join(filter(None, head)) for head in heads)]]
  lines += [[r.name, r.seeds, *(c.text if c else "–" for c in r.cells)] for r in rows]
  parts = ["\n".join(runner.aligned(lines))]
  unlike = [[key, *map(_short, values)] for key, values in differences(groups)]
  head = ["config", *(group.name for group in groups)]
  parts.append("\n".join(runner.aligned([head, *unlike])) if unlike else "The configs are equal.")
  return "\n\n".join([*parts, "\n".join(notes(groups))])


def _short(value: str) -> str:
  return value if len(value) <= WIDEST else f"{value[: WIDEST // 2]}…{value[1 - WIDEST // 2 :]}"


def write(groups: list[Group], out) -> pathlib.Path:
  """Writes the comparison as one HTML file that needs nothing else; returns its path."""
  columns, rows = table(groups)
  page = report.rendered(
    "comparison.html.j2",
    title=" · ".join(group.name for group in groups[:4]) + (" …" if len(groups) > 4 else ""),
    groups=groups,
    columns=columns,
    rows=rows,
    charts=charts(groups),
    differences=differences(groups),
    notes=notes(groups),
    axes=curves,
  )
  path = pathlib.Path(out)
  if not path.parent.is_dir():
    raise InputError(f"--out: there is no folder {path.parent} to write {path.name} to. Make it.")
  path.write_text(page, encoding="utf-8")
  return path
