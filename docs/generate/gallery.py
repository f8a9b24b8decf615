"""A page a method, from its config and the committed records, and an index of their masks."""

import html
import json
import statistics
from collections.abc import Callable

from sphinx.util import logging

from docs.generate import drawing, flow, masks
from docs.generate.configuration import flat, own_of, reference
from docs.generate.markdown import code, escaped, table
from mim_jax import catalog
from mim_jax import config as config_lib
from mim_jax.config import is_node

LOG = logging.getLogger(__name__)
MISSING = "It could not be drawn: the build of this page says why.\n"
SCORES = {"knn": "kNN", "linear": "linear, all labels", "linear_10": "linear, 10 labels a class"}
FACTS = ("reference", "numbers", "differs")  # of the first lines of a config
COLUMNS = ("status", "flops", "time", "ours")  # of the table below the masks
WHO = {"pretrained": "pre-trained", "random": "its encoder untrained", "pixels": "raw pixels"}
PICTURES = config_lib.folder().parent / "experiments" / "methods_digits" / "pictures_shown"
LEGEND = (
  "Photo: seen by the encoder. Colour: hidden, a colour for each group of targets. "
  "Grey: hidden, and no target."
)
NOTE = (
  "`mim-jax methods` prints this, with papers, parts and published numbers. Status: "
  + "; ".join(f"*{word}*, {what}" for word, what in catalog.STATUSES.items())
  + ". FLOPs are those of one training sample at size B, as traced; step time and our number are "
  "measured at one small budget with the same small encoder: it asks whether a method learns and "
  "what it costs, not which is best.\n"
)
CREDIT = (
  "The photo comes with scikit-learn: *china.jpg* by danielbuechele, "
  "[CC BY 2.0](https://creativecommons.org/licenses/by/2.0/), cropped."
)
READ = (
  "An arrow is there exactly where a number counts: the objective was traced, and every call of a "
  "part marked. Blue boxes have parameters, round ones have none, dashed ones are the teacher's. "
  "The last line of a box is what comes out, for one sample (a grey image, a clip ...) at size B."
)


def pages() -> dict[str, str | bytes]:
  """Makes the gallery: {file: content}."""
  rows, made = catalog.rows(), {}
  for row in rows:
    name = row["name"]
    seen = attempt(name, "data flow", flow.of, name)
    found = seen and seen.grid and attempt(name, "mask", masks.picture, name, seen.grid)
    if found:
      made[f"methods/masks/{name}.png"] = found[0]
    made[f"methods/{name}.md"] = page(row, seen, found[1] if found else None)
  made["methods/index.md"] = index(rows, made)
  whole = attempt("mae", "road", road, "mae")
  label = "the road of MAE, from source to report"
  made["road.md"] = raw(drawing.svg(whole, label)) if whole else MISSING
  return made


def attempt(name: str, what: str, draw: Callable, *arguments):
  """Draws `what` of a method; where that fails, warns and returns None: one page lacks a picture.

  `sphinx -W -D suppress_warnings=mim_jax` builds all the same.
  """
  try:
    return draw(*arguments)
  except Exception as error:
    said = f"{type(error).__name__}: {error}"
    LOG.warning("%s: no picture of its %s. %s", name, what, said, type="mim_jax", subtype="picture")
    return None


def road(method: str) -> flow.Flow:
  """The flow of a method with what its config puts before and behind the objective."""
  config, inner = catalog.config_of(method), flow.of(method)
  names = {key: config.data[key].part.rpartition(".")[2] for key in ("train", "augment")}
  evaluations = [key for key, node in config.evaluations.items() if is_node(node)]
  before = (
    flow.Node("source", names["train"], "data", "uint8, by number"),
    flow.Node("augment", names["augment"], "data", "on the device"),
  )
  behind = (
    flow.Node("update", config.optimizer.part.rpartition(".")[2], "train", "gradient, then step"),
    flow.Node("checkpoint", "", "train", "state, order of data, config"),
    flow.Node("evaluations", ", ".join(evaluations), "evaluate", "numbers with their protocol"),
    flow.Node("report", "", "evaluate", "one HTML file"),
  )
  first, last = len(before), len(before) + len(inner.nodes)
  arrows = {(a + first, b + first) for a, b in inner.arrows}
  arrows |= {(0, 1), (1, 2), (last - 1, last)}
  arrows |= {(last, last + 1), (last, last + 2), (last + 2, last + 3)}
  return flow.Flow((*before, *inner.nodes, *behind), frozenset(arrows))


def index(rows: list[dict], made: dict) -> str:
  """Lists every method with its mask, by family."""
  families: dict[str, list[dict]] = {}
  for row in rows:
    families.setdefault(row["family"], []).append(row)
  head = ("method", *(catalog.COLUMNS[key] for key in COLUMNS))
  sections = []
  for name, some in sorted(families.items()):
    cards = "".join(card(row, f"methods/masks/{row['name']}.png" in made) for row in some)
    lines = [
      (f"[{label(r['name'])}](./{r['name']}.md)", *(r[key] for key in COLUMNS)) for r in some
    ]
    sections += [f"## {name}\n", raw(f"<div class=cards>{cards}</div>"), table(head, lines)]
  listed = "\n".join(row["name"] for row in rows)
  return "\n".join(
    [
      "# The methods\n",
      f"Each with its own mask, drawn on its own grid. {LEGEND}\n",
      *sections,
      NOTE,
      CREDIT,
      f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
    ]
  )


def card(row: dict, masked: bool) -> str:
  """A thumbnail that leads to the page."""
  name = row["name"]
  shown = (
    f'<img src="../../_images/{name}.png" alt="the mask of {label(name)}">'
    if masked
    else "<i>no mask</i>"
  )
  return (
    f'<a class="card" href="{name}.html"><span class="thumb">{shown}</span>'
    f"<b>{label(name)}</b><small>{html.escape(title(row))}</small></a>"
  )


def page(row: dict, seen: flow.Flow | None, note: str | None) -> str:
  """Writes all that is known of one method."""
  name, facts = row["name"], catalog.stated(row["name"])
  config = catalog.config_of(name)
  hidden = MISSING if "mask" in config.objective else "Nothing is masked."
  drawing_of = seen and raw(drawing.svg(seen, f"data flow of {label(name)}"))
  cost = [("FLOPs a sample", row["flops"]), ("step time", row["time"])]
  sections = [
    f"# {label(name)}\n\n{escaped(row['paper'])}\n",
    commands(name),
    *(f"{key.capitalize()}: {escaped(facts[key])}\n" for key in FACTS if key in facts),
    f"{escaped(facts.get('remarks', ''))}\n",
    f"## Its mask\n\n{mask(name, note) if note else hidden}\n",
    f"## Its data flow\n\n{drawing_of or MISSING}\n{READ}",
    f"In words: {reference(config.objective.part)}.\n",
    f"## Its cost\n\n{table(('', 'MAE = 1'), cost)}",
    f"## Its numbers\n\nPublished: {escaped(row['published'])}\n",
    f"Ours: {escaped(row['ours'])}\n",
    scores(name),
    f"## What it makes of samples\n\n{drawn(name)}",
    f"## Its config, as a difference from MAE\n\n{difference(name)}",
  ]
  return "\n".join(sections)


def mask(name: str, note: str) -> str:
  """The drawing and what it shows."""
  shown = f"```{{image}} masks/{name}.png\n:alt: the mask of {label(name)}\n```"
  said = "" if masks.LINES in note else f" {LEGEND} {CREDIT}"
  return f"{shown}\n\n{escaped(note)}{said}"


def drawn(name: str) -> str:
  """The picture of a short run on the digits, and what it shows."""
  file = PICTURES / f"{name}.jsonl"
  lines = file.read_text().splitlines() if file.exists() else []
  found = [r for r in map(json.loads, lines) if r["method"] == name]
  if not found:
    return "No picture has been recorded; `report.html` of a run shows them.\n"
  last = found[-1]
  shown = f"```{{image}} ../../pictures/{name}.png\n:alt: {label(name)} on held-out digits\n```"
  panels = ", ".join(last["panels"])
  facts = f"`{last['command']}`; {last['date']}, commit {last['commit']}"
  return (
    f"{shown}\n\nHeld-out digits: {escaped(panels)}. {escaped(last['note'])} After "
    f"{last['steps']} steps of the smallest encoder ({facts}).\n"
  )


def commands(name: str) -> str:
  """Writes the commands that train a method, ready to be copied."""
  where = f"--workdir=runs/{name}"
  others = ",teacher=FOLDER" if "teacher" in own_of(name) else ""
  own = "dataset=clips" if catalog.family_of(name) == "video" else "dataset=folder"
  lines = [
    f"mim-jax train --config={name}:dataset=embedded {where}",
    f"mim-jax train --config={name}:{own},path=FOLDER{others} {where}",
  ]
  return "```\n" + "\n".join(lines) + "\n```\n"


def scores(name: str) -> str:
  """Our accuracy from the records, with its record's facts."""
  found = catalog.records("results", name)
  if not found:
    return "No record.\n"
  rows = [
    (who, *(spread([r["scores"][s][key] for r in found]) for s in SCORES))
    for key, who in WHO.items()
    if all(key in r["scores"][s] for r in found for s in SCORES)
  ]
  facts = found[0]
  return (
    "On the embedded digits, at the small budget that all methods share (`experiments/"
    f"methods_digits/`; {facts['step']} steps, {len(found)} seeds, {facts['hardware']}, "
    f"{facts['date']}, commit {facts['commit']}):\n\n"
    + table(("accuracy in %", *SCORES.values()), rows)
  )


def spread(shares: list[float]) -> str:
  """'71.9 ± 1.8'."""
  return f"{100 * statistics.fmean(shares):.1f} ± {100 * statistics.stdev(shares):.1f}"


def difference(name: str) -> str:
  """The keys of the config at size B that MAE's does not have, or has otherwise."""
  mae, own = flat("mae"), flat(name)
  keys = [k for k in sorted({*mae, *own}) if mae.get(k) != own.get(k) and k != "method"]
  if not keys:
    return "None: it is MAE.\n"
  rows = [(code(k), *(code(c[k]) if k in c else "–" for c in (mae, own))) for k in keys]
  return table(("key", "MAE", label(name)), rows)


def label(name: str) -> str:
  """What its paper calls a method: 'MAE' of configs/mae.py."""
  return catalog.stated(name)["title"].partition(":")[0]


def title(row: dict) -> str:
  """The paper's title alone."""
  return row["paper"].partition(" (")[0]


def raw(text: str) -> str:
  """HTML in a page."""
  return f"```{{raw}} html\n{text}\n```\n"
