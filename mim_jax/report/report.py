"""report.html of a run folder: one self-contained file, made from the folder alone."""

import base64
import pathlib

from mim_jax.errors import InputError
from mim_jax.evaluate import numbers
from mim_jax.monitor import metrics
from mim_jax.report import curves, runs

BASELINES = {
  "pretrained": "this run",
  "random": "same network, untrained",
  "pixels": "no network",
}


def report(workdir) -> pathlib.Path:
  """Writes report.html from config, metrics, results and pictures of a run folder.

  Returns its path. Whatever is missing is said to be missing. The same files give the same report,
  byte for byte. InputError where the folder does not exist or a file is not JSON.
  """
  folder = pathlib.Path(workdir)
  if not folder.is_dir():
    raise InputError(
      f"report: there is no run folder {folder}. Train first, or give another --workdir."
    )
  half = folder / "report.html.part"
  half.write_text(render(folder), encoding="utf-8")
  return half.replace(folder / "report.html")


def rendered(template: str, **values) -> str:
  """Renders a template of this folder as HTML; every text in `values` is escaped."""
  import jinja2  # late: the command line should start fast

  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template(template).render(**values)


def render(folder: pathlib.Path) -> str:
  """Renders the report of `folder` as HTML."""
  config, results = runs.read_json(folder / "config.json"), runs.read_json(folder / "results.json")
  lines = runs.read_metrics(folder / "metrics.jsonl")
  evaluations = runs.child(results, "evaluations")
  return rendered(
    "report.html.j2",
    title=title(config, results),
    facts=headline(config, results, lines),
    tiles=tiles(results),
    columns=columns(evaluations),
    rows=rows(evaluations),
    protocols=protocols(evaluations),
    charts=charts(lines),
    learning=learning(lines, results),
    axes=curves,
    pictures=pictures(folder / "reconstructions"),
    panels=panels(runs.child(results, "reconstruction"), ("original", "masked", "reconstruction")),
    views=views(folder, results),
    missing=runs.child(results, "missing"),
    note=runs.child(results, "reconstruction").get("note"),
    config=config,
    surroundings=surroundings(config, results),
  )


def title(config: dict, results: dict) -> str:
  """Makes the title, 'mae on digits', from the config, else what there is."""
  method = config.get("method") or _short(runs.child(config, "objective").get("part"))
  data = runs.child(runs.child(config, "data"), "train")
  name = data.get("name") or _short(data.get("part"))
  if data.get("path"):
    name = pathlib.PurePath(str(data["path"])).name or name
  return " on ".join(str(x) for x in (method or "A run", name) if x)


def headline(config: dict, results: dict, lines: list[dict]) -> list[str]:
  """Makes the line under the title: step, seed, training samples."""
  step = results.get("step", lines[-1]["step"] if lines else None)
  data = runs.child(results, "dataset")
  seed = results.get("seed", config.get("seed"))
  said = (
    step is not None and f"step {curves.number(step)}",
    seed is not None and f"seed {seed}",
    "train" in data and f"{curves.number(data['train'])} training samples",
    "test" in data and f"{curves.number(data['test'])} test samples",
  )
  return [text for text in said if text]


def tiles(results: dict) -> list[tuple[str, str, str]]:
  """Lists (name, number, small print) of what the run cost."""
  cost = metrics.current(runs.child(results, "cost"))
  sizes, seconds = runs.child(cost, "parameters"), runs.child(cost, "seconds")
  encoder = sizes.get("encoder", sum(sizes.values()) if sizes else None)
  other = [
    f"{name} {curves.duration(seconds[name])}" for name in sorted(seconds) if name != "train"
  ]
  goodput = cost.get("goodput")
  share = [f"{goodput:.0%} of all time in steps"] if isinstance(goodput, float) else []
  return [
    ("Samples a second", curves.scaled(cost.get("samples_per_second")), "in training"),
    (
      "Work a sample",
      curves.scaled(cost.get("flops_per_sample"), "FLOP"),
      "in training, as traced",
    ),
    (
      "Encoder" if "encoder" in sizes else "Network",
      curves.scaled(encoder),
      "parameters"
      + "".join(f"; {k} {curves.scaled(v)}" for k, v in sizes.items() if k != "encoder"),
    ),
    ("Training", curves.duration(seconds.get("train")), "; ".join(other + share)),
    *held_out(runs.child(results, "held_out")),
  ]


def held_out(found: dict) -> list[tuple[str, str, str]]:
  """Makes the tile of the loss on held-out samples; none where it was not measured."""
  if not found:
    return []
  found = {"samples": found.get("images")} | found  # as the first edition called them
  train, samples = (curves.number(found.get(name)) for name in ("train", "samples"))
  small = f"on {samples} test samples; {train} on as many training samples"
  return [("Held-out loss", curves.number(found.get("test")), small)]


def columns(evaluations: dict) -> list[tuple[str, str]]:
  """Lists (evaluation, number) of every column; one without a number for what has no results."""
  found = []
  for name, entry in evaluations.items():
    numbers = dict.fromkeys(
      key for result in runs.child(entry, "results").values() for key in result
    )
    found += [(name, key) for key in numbers or [""]]
  return found


def rows(evaluations: dict) -> list[dict]:
  """Makes {name, about, cells} an encoder; a cell: None or {text, each, best, fraction or None}."""
  names = dict.fromkeys(n for entry in evaluations.values() for n in runs.child(entry, "results"))
  table = []
  for name in names:
    cells = [
      _cell(runs.child(evaluations[e], "results"), name, key) for e, key in columns(evaluations)
    ]
    table.append({"name": name, "about": BASELINES.get(name, ""), "cells": cells})
  return table


def _cell(results: dict, name: str, key: str):
  """Formats one number of one encoder, and whether it is the highest among the encoders."""
  number = runs.child(results, name).get(key)
  if not number:
    return None
  means = [r[key]["mean"] for r in results.values() if key in r]
  mean, unit = number["mean"], numbers.unit_of(number)
  return {
    "text": numbers.in_words(number),
    "each": ", ".join(curves.number(value) for value in number.get("values", ())),
    "best": len(means) > 1 and mean == numbers.best(means, unit),
    "fraction": mean if unit == numbers.FRACTION and 0 <= mean <= 1 else None,
  }


def protocols(evaluations: dict) -> list[tuple[str, str, list]]:
  """Lists (evaluation, its protocol in words, reasons why numbers are missing)."""
  found = []
  for name, entry in evaluations.items():
    words = [
      f"{k} {runs.plain(v)}" for k, v in runs.child(entry, "protocol").items() if k != "part"
    ]
    why = [(kind, str(entry[kind])) for kind in ("skipped", "failed") if kind in entry]
    found.append((name, ", ".join(words), why))
  return found


def charts(lines: list[dict]) -> list[curves.Chart]:
  """Draws a chart for each number that was logged, the usual ones first."""
  found = []
  for name in runs.logged(lines):
    points = runs.logged_points(lines, name)
    if points and not name.startswith(runs.EVAL):
      steps, values = zip(*points, strict=True)
      smooth = name != "learning_rate"
      found.append(curves.chart(name.replace("_", " "), steps, values, smooth))
  return found


def learning(lines: list[dict], results: dict) -> list[curves.Chart]:
  """Draws charts of the evaluations in training, and of nearest neighbours by layer."""
  found = []
  for name in runs.logged(lines):
    points = runs.logged_points(lines, name)
    if name.startswith(runs.EVAL) and len(points) > 1:
      said = name.removeprefix(runs.EVAL).replace("_", " ") + ", while training"
      steps, values = zip(*points, strict=True)
      found.append(curves.chart(said, steps, values, smooth=False))
  layers = runs.child(runs.child(results, "neighbours"), "by_layer")
  accuracy = layers.get("accuracy", ())
  if len(accuracy) > 1:
    said = f"kNN accuracy by layer, {layers['asked']} samples among {layers['known']}"
    numbers = range(1, len(accuracy) + 1)
    found.append(curves.chart(said, numbers, accuracy, smooth=False, unit="layer"))
  return found


def panels(entry: dict, usual: tuple = ()) -> list[str]:
  """Names the panels of a strip, from left to right."""
  found = entry.get("panels")
  return [str(name) for name in found] if isinstance(found, list) else list(usual)


def views(folder: pathlib.Path, results: dict) -> dict:
  """Collects what the pictures of features and of neighbours need: addresses, and contents."""
  seen, near = runs.child(results, "features"), runs.child(results, "neighbours")
  files = pictures(folder / "neighbours") if near else []
  said = [str(text) for text in near.get("said", ())]
  return {
    "features": pictures(folder / "features") if seen else [],
    "panels": panels(seen),
    "note": seen.get("note", ""),
    "neighbours": list(zip(files, said, strict=False)),
    "among": curves.number(near.get("among")),
  }


def pictures(folder: pathlib.Path, limit: int = 8) -> list[str]:
  """Lists data: addresses of the strips NN.png, else of whatever PNG files there are."""
  files = sorted(folder.glob("[0-9]*.png")) or sorted(folder.glob("*.png"))
  raw = [file.read_bytes() for file in files[:limit]]
  return [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in raw]


def surroundings(config: dict, results: dict) -> list[tuple[str, dict]]:
  """Lists (heading, {name: text}) of data, hardware and versions, as far as they are known."""
  groups = {name: runs.child(results, name) for name in ("dataset", "hardware", "versions")}
  seed = results.get("seed", config.get("seed"))
  if seed is not None:
    groups["dataset"] = {**groups["dataset"], "seed": seed}
  shown = {"dataset": "Data and seed", "hardware": "Hardware", "versions": "Versions"}
  return [
    (shown[k], {n: runs.plain(v) for n, v in group.items()}) for k, group in groups.items() if group
  ]


def _short(dotted) -> str:
  return str(dotted).rpartition(".")[2] if dotted else ""
