"""Runs evaluations on encoders, over seeds, and aggregates the numbers."""

import statistics

from absl import logging

from mim_jax.errors import InputError
from mim_jax.evaluate import features, network, numbers


def run(evaluations: dict, encoders: dict, data, seeds, folder=None) -> dict:
  """Runs every evaluation on every encoder with every seed: numbers that JSON can hold.

  evaluations: {name: (function, protocol)}; encoders: {name: one encode per seed, repeated where
  the seed changes nothing}; function(encode, data, seed) -> {name: Number}. Returns {evaluation:
  {"protocol", "results": {encoder: {number: {"mean", "spread", "values", "unit"}}}}}, spread the
  sample standard deviation over seeds (None with one seed). An evaluation that needs labels that do
  not exist gets "skipped", one that raised "failed", each with the reason; neither stops the
  others. One that trains a network leaves the row of an encoder without one empty. folder: where
  features are cached.
  """
  table = {
    name: {"protocol": {**protocol, "seeds": list(seeds)}, "results": {}}
    for name, (_, protocol) in evaluations.items()
  }
  for encoder, encodes in encoders.items():
    scores: dict = {name: [] for name in evaluations}
    stopped, last = set(), None
    for encode, seed in zip(_cached(encodes, folder), seeds, strict=True):
      for name, (function, _) in evaluations.items():
        if name not in stopped and "skipped" not in table[name]:
          reuse = last is encode and not _draws(function)
          found = scores[name][-1] if reuse else _attempt(function, encode, data, seed)
          if isinstance(found, Exception):
            stopped.add(name)
            _note(table[name], name, encoder, found)
          else:
            scores[name].append(found)
      last = encode
    for name in evaluations:
      if name not in stopped and scores[name]:
        table[name]["results"][encoder] = _over_seeds(scores[name])
  return table


def _cached(encodes, folder):
  """Wraps each encode in a cache; a repeated encode keeps its cache, others drop theirs."""
  last = None
  for encode in encodes:
    if last is None or last.encode is not encode:
      last = features.Cached(encode, folder)
    yield last


def _draws(function) -> bool:
  """Tells whether another seed may give another number; see features.deterministic."""
  return getattr(getattr(function, "func", function), "draws", True)


def _attempt(function, encode, data, seed):
  try:
    return function(encode, data, seed)
  except Exception as error:  # one evaluation must not take the others with it
    return error


def _note(entry, name, encoder, error):
  """Records why `entry` lacks numbers."""
  if isinstance(error, network.NoNetwork):
    return
  if isinstance(error, features.NoLabels):
    entry["skipped"] = str(error)
    return
  logging.warning("evaluation %s of %s failed", name, encoder, exc_info=error)
  text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
  entry["failed"] = "; ".join([*filter(None, [entry.get("failed")]), f"{encoder}: {text}"])


def _over_seeds(scores: list[dict]) -> dict:
  """Aggregates {number: value} a seed: {number: {"mean", "spread", "values", "unit"}}."""
  return {key: _summary([score[key] for score in scores]) for key in scores[0]}


def _summary(found: list) -> dict:
  """Computes mean and spread of one number over seeds; its unit where it has one."""
  values = [float(x) for x in found]
  spread = statistics.stdev(values) if len(values) > 1 else None
  unit = dict(unit=found[0].unit) if isinstance(found[0], numbers.Number) else {}
  return dict(mean=statistics.fmean(values), spread=spread, values=values, **unit)


def table(evaluations: dict) -> str:
  """Formats the result of `run`: one line an encoder, one column a number, reasons below."""
  columns = sorted(
    {(e, key) for e, entry in evaluations.items() for r in entry["results"].values() for key in r}
  )
  names = list(dict.fromkeys(n for entry in evaluations.values() for n in entry["results"]))
  rows = [["", *(f"{evaluation} {key}" for evaluation, key in columns)]] if columns else []
  for name in names:
    cells = (evaluations[e]["results"].get(name, {}).get(key) for e, key in columns)
    rows.append([name, *map(numbers.in_words, cells)])
  lines = aligned(rows)
  for evaluation, entry in evaluations.items():
    lines += [f"{evaluation} {why}: {entry[why]}" for why in ("skipped", "failed") if why in entry]
  return "\n".join(lines)


def aligned(rows: list[list[str]]) -> list[str]:
  """Aligns rows of equally many cells in columns: lines."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
