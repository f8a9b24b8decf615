"""Geometry of small line charts, and formats of numbers, for report.html.j2 to draw."""

import dataclasses
import functools
import math

import numpy as np

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 508, 14, 204
DRAWN = 400  # points a line is thinned to
TOUCHED = 90  # places that answer the pointer


@dataclasses.dataclass(frozen=True)
class Chart:
  """Describes one series over steps, in the coordinates of a WIDTH x HEIGHT drawing.

  Attributes:
    name, last: what it shows, and its last value in words.
    raw: SVG path of a dot a point, "" where the line passes through all points anyway.
    line: SVG path of the smoothed (or plain) line, with gaps where values are not finite.
    broken: x of the points that are not finite.
    xticks, yticks: (coordinate, text).
    touch: (left, width, x, y, text) of the places that answer the pointer.
    smooth, log: whether the line is smoothed, and the axis logarithmic.
  """

  name: str
  last: str
  raw: str
  line: str
  broken: list
  xticks: list
  yticks: list
  touch: list
  smooth: bool
  log: bool


def chart(name: str, steps, values, smooth: bool = True, unit: str = "step") -> Chart:
  """Makes the Chart of values over steps (equally long, at least one).

  Values may be NaN or infinite.
  """
  steps, values = np.asarray(steps, float), np.asarray(values, float)
  finite = np.isfinite(values)
  values, good = np.where(finite, values, np.nan), values[finite]
  smooth = smooth and good.size >= 20
  log = smooth and bool(good.min() > 0 and good.max() > 50 * good.min())
  x, xticks = _axis(steps, LEFT, RIGHT, tight=True)
  y, yticks = _axis(good if good.size else np.zeros(1), BOTTOM, TOP, log=log)
  shown = values if not smooth else 10 ** smoothed(np.log10(values)) if log else smoothed(values)
  few = _thin(len(steps), DRAWN)
  return Chart(
    name=name,
    last=number(float(shown[np.isfinite(shown)][-1])) if good.size else "not finite",
    raw=_dots(x(steps), y(values), few) if smooth or len(good) < 20 else "",
    line=_line(x(steps), y(shown), few),
    broken=[round(float(v), 1) for v in x(steps[~finite])[:DRAWN]],
    xticks=xticks,
    yticks=yticks,
    touch=_touch(steps, values, x(steps), y(values), unit),
    smooth=smooth,
    log=log,
  )


def smoothed(values) -> np.ndarray:
  """Averages the finite values within a 50th of the points on either side, [n]; NaN without any.

  Near the start the window shrinks on both sides, so that the line does not lag behind a fall.
  """
  values = np.asarray(values, float)
  finite = np.isfinite(values)
  index, n = np.arange(len(values)), len(values)
  reach = np.minimum(index, max(2, n // 50))
  first, last = index - reach, np.minimum(index + reach, n - 1) + 1
  total = np.concatenate([[0], np.cumsum(np.where(finite, values, 0))])
  count = np.concatenate([[0], np.cumsum(finite)])
  found = count[last] - count[first]
  return np.where(found, (total[last] - total[first]) / np.maximum(found, 1), np.nan)


def ticks(low: float, high: float, count: int) -> list[float]:
  """Chooses about `count` round numbers in [low, high]."""
  rough = (high - low) / count
  unit = 10.0 ** math.floor(math.log10(rough))
  step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
  first = math.ceil(low / step - 1e-9)
  return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float, count: int = 6) -> list[float]:
  """Chooses few round numbers on a log axis in [low, high]: 1 2 5 10, else 1 3 10, else 1 10."""
  for mantissas in ((1, 2, 5), (1, 3), (1,)):
    powers = range(math.floor(low), math.ceil(high) + 1)
    marks = [m * 10.0**power for power in powers for m in mantissas]
    marks = [mark for mark in marks if low <= math.log10(mark) <= high]
    if len(marks) <= count:
      break
  return marks


def number(value, digits: int = 4) -> str:
  """Formats a number: 1,234 | 0.4123 | 1.5e-4 | a dash for what is none or not finite."""
  if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
    return "–"
  if value == int(value) and abs(value) < 1e15:
    return f"{int(value):,}"
  if 1e-2 <= abs(value) < 1e15:
    text = f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
  mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
  return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def scaled(value, unit: str = "") -> str:
  """Formats a number with an SI prefix, '5.53 M' or '1.2 GFLOP'; a dash for what is missing."""
  if number(value) == "–":
    return "–"
  power = 0 if abs(value) < 1000 else min(5, math.floor(math.log10(abs(value)) / 3 + 1e-12))
  return f"{number(value / 1000**power, 3)} {' kMGTP'[power].strip()}{unit}".strip()


def duration(seconds) -> str:
  """Formats seconds: '0.42 s', '3 min 20 s', '2 h 5 min'; a dash for what is missing."""
  if number(seconds) == "–":
    return "–"
  if seconds < 60:
    return f"{number(seconds, 2)} s"
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _axis(values, start, end, log=False, tight=False):
  """Makes (function from values to coordinates, ticks): lows at `start`, highs at `end`."""
  scale = np.log10 if log else np.asarray
  low, high = float(np.min(scale(values))), float(np.max(scale(values)))
  if not high - low > 1e-9 * max(abs(low), abs(high)):
    low, high = low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
  room = 0 if tight else (high - low) * 0.06
  low, high = low - room, high + room

  def place(given):
    with np.errstate(invalid="ignore", divide="ignore"):
      return start + (scale(given) - low) / (high - low) * (end - start)

  marks = decades(low, high) if log else ticks(low, high, 6 if tight else 4)
  if tight:
    marks = [mark for mark in marks if mark == round(mark)]  # there is no step 1.5
  return place, [(round(float(place(m)), 1), number(m, 3)) for m in marks]


def _thin(count, limit):
  """Chooses at most limit + 1 indices out of count, evenly spread, the last one included."""
  return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int))


def _dots(x, y, few):
  # A line of no length with round ends is a dot; one path holds them all.
  return "".join(f"M{x[i]:.1f} {y[i]:.1f}h0" for i in few if math.isfinite(y[i]))


def _line(x, y, few):
  parts, pen = [], "M"
  for i in few:
    if math.isfinite(y[i]):
      parts.append(f"{pen}{x[i]:.1f} {y[i]:.1f}")
      pen = "L"
    else:
      pen = "M"
  return "".join(parts)


def _touch(steps, values, x, y, unit):
  places, out = _thin(len(steps), TOUCHED), []
  edges = [LEFT, *((x[places][1:] + x[places][:-1]) / 2), RIGHT]
  for i, left, right in zip(places, edges[:-1], edges[1:], strict=True):
    value = number(float(values[i])) if math.isfinite(values[i]) else "not finite"
    height = round(float(y[i]), 1) if math.isfinite(y[i]) else BOTTOM
    text = f"{unit} {number(float(steps[i]))} · {value}"
    out.append((round(left, 1), round(right - left, 1), round(float(x[i]), 1), height, text))
  return out


@dataclasses.dataclass(frozen=True)
class Overlay:
  """Describes one number of several groups of runs, in the coordinates of a WIDTH x HEIGHT drawing.

  Attributes:
    name, unit: what it shows, over steps or samples.
    lines: (label, last mean in words, SVG path of the mean, SVG path of the band or "").
    xticks, yticks: (coordinate, text).
    touch: (left, width, x, where in words, [(line number, y, text)]).
    smooth, log: whether the lines are smoothed, and the axis logarithmic.
  """

  name: str
  unit: str
  lines: list
  xticks: list
  yticks: list
  touch: list
  smooth: bool
  log: bool


def overlay(name: str, groups: list, unit: str = "step", smooth: bool = True) -> Overlay:
  """Makes the Overlay of groups (label, runs).

  A run is (steps, values), equally long, at least one. A line is the mean of its runs at the steps
  that all of them have, a band one standard deviation to either side. Values may be NaN or
  infinite. At least one value must be finite.
  """
  every = np.concatenate([np.asarray(values, float) for _, runs in groups for _, values in runs])
  good = every[np.isfinite(every)]
  smooth = smooth and all(len(steps) >= 20 for _, runs in groups for steps, _ in runs)
  log = smooth and bool(good.min() > 0 and good.max() > 50 * good.min())
  means = [(label, *over_runs(runs, smooth, log)) for label, runs in groups]
  x, xticks = _axis(np.concatenate([steps for _, steps, _, _ in means]), LEFT, RIGHT, tight=True)
  shown = np.concatenate([v for _, _, *both in means for v in both])
  shown = shown[np.isfinite(shown)]
  y, yticks = _axis(shown if shown.size else np.zeros(1), BOTTOM, TOP, log=log)
  lines = []
  for (label, steps, low, high), (_, runs) in zip(means, groups, strict=True):
    few, middle = _thin(len(steps), DRAWN), _middle(low, high, log)
    ends = middle[np.isfinite(middle)]
    last = number(float(ends[-1])) if ends.size else "not finite"
    band = _band(x(steps), y(low), y(high), few) if len(runs) > 1 else ""
    lines.append((label, last, _line(x(steps), y(middle), few), band))
  touch = _touches(means, x, y, unit, log)
  return Overlay(name, unit, lines, xticks, yticks, touch, smooth, log)


def over_runs(runs: list, smooth: bool, log: bool = False):
  """Computes (steps, mean - std, mean + std), each [n], at the steps that all runs have.

  With `log` mean and std are those of the logarithms. One run has no std.
  """
  steps = functools.reduce(np.intersect1d, [np.asarray(s, float) for s, _ in runs])
  rows = []
  for own, values in runs:
    values = np.asarray(values, float)
    values = np.where(np.isfinite(values), values, np.nan)
    values = np.log10(values) if log else values
    values = smoothed(values) if smooth else values
    rows.append(values[np.searchsorted(np.asarray(own, float), steps)])
  mean = np.mean(rows, 0)
  std = np.std(rows, 0, ddof=1) if len(rows) > 1 else 0.0
  low, high = mean - std, mean + std
  return (steps, 10**low, 10**high) if log else (steps, low, high)


def _middle(low, high, log):
  return np.sqrt(low * high) if log else (low + high) / 2


def _band(x, low, high, few):
  few = [i for i in few if math.isfinite(low[i]) and math.isfinite(high[i])]
  edge = [f"{x[i]:.1f} {high[i]:.1f}" for i in few]
  edge += [f"{x[i]:.1f} {low[i]:.1f}" for i in reversed(few)]
  return f"M{'L'.join(edge)}Z" if edge else ""


def _touches(means, x, y, unit, log):
  """Makes the places that answer the pointer, each with the values of all lines that reach it."""
  places = functools.reduce(np.union1d, [steps for _, steps, _, _ in means])
  places = places[_thin(len(places), TOUCHED)]
  centres, out = x(places), []
  edges = [LEFT, *((centres[1:] + centres[:-1]) / 2), RIGHT]
  for step, centre, left, right in zip(places, centres, edges[:-1], edges[1:], strict=True):
    found = []
    for i, (label, steps, low, high) in enumerate(means):
      at = int(np.argmin(np.abs(steps - step))) if steps.size else 0
      value = _middle(low[at], high[at], log) if steps.size else math.nan
      if steps.size and steps[0] <= step <= steps[-1] and math.isfinite(value):
        found.append((i, round(float(y(value)), 1), f"{label} {number(float(value))}"))
    where = f"{unit} {number(float(step))}"
    out.append((round(left, 1), round(right - left, 1), round(float(centre), 1), where, found))
  return out
