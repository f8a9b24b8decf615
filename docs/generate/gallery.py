"""A page a method, from its config and the committed records, and an index of their masks."""

import html
import json
import re
import statistics

from docs.generate import drawing, flow, masks
from docs.generate.configuration import flat
from docs.generate.markdown import code, escaped, table
from mim_jax import catalog
from mim_jax import config as config_lib
from mim_jax.config import is_node

SCORES = {"knn": "kNN", "linear": "linear, all labels", "linear_10": "linear, 10 labels a class"}
COLUMNS = ("lines", "flops", "time", "ours")  # of the table below the masks
WHO = {"pretrained": "pre-trained", "random": "its encoder untrained", "pixels": "raw pixels"}
PICTURES = config_lib.folder().parent / "experiments" / "methods_digits" / "pictures.jsonl"
LEGEND = (
  "Photo: seen by the encoder. Colour: hidden, a colour for each group of targets. "
  "Grey: hidden, and no target."
)
NOTE = (
  "`mim-jax methods` prints this, with papers, parts and published numbers. Own lines are lines of "
  "code that no other method uses. FLOPs are those of one training image (or clip) at size B; step "
  "time and our number are measured at one small budget with the same small encoder "
  "(`experiments/methods_digits/`): it asks whether a method learns and what it costs, not which "
  "is best.\n"
)
CREDIT = (
  "The photo comes with scikit-learn: *china.jpg* by danielbuechele, "
  "[CC BY 2.0](https://creativecommons.org/licenses/by/2.0/), cropped."
)
COMMAND = re.compile(r"mim-jax train(?: --\S+)+")
READ = (
  "An arrow is there exactly where a number counts: the objective was traced, and every call of a "
  "part marked. Blue boxes have parameters, round ones have none, dashed ones are the teacher's. "
  "The last line of a box is what comes out, for one grey image (or clip) at size B."
)


def pages() -> dict[str, str | bytes]:
  """{file: content} of the gallery."""
  rows, made = catalog.rows(), {}
  for row in rows:
    name = row["name"]
    seen = flow.of(name)
    found = masks.picture(name, seen.grid) if seen.grid else None
    if found:
      made[f"methods/masks/{name}.png"] = found[0]
    made[f"methods/{name}.md"] = page(row, seen, found and found[1])
  made["methods/index.md"] = index(rows, made)
  made["road.md"] = raw(drawing.svg(road("mae"), "the road of MAE, from source to report"))
  return made


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
  """Every method with its mask."""
  cards = "".join(card(row, f"methods/masks/{row['name']}.png" in made) for row in rows)
  listed = "\n".join(row["name"] for row in rows)
  return "\n".join(
    [
      "# The methods\n",
      f"Each with its own mask, drawn on its own grid. {LEGEND}\n",
      f"{raw(f'<div class=cards>{cards}</div>')}",
      table(
        ("method", *(catalog.COLUMNS[key] for key in COLUMNS)),
        [(f"[{label(r['name'])}](./{r['name']}.md)", *(r[key] for key in COLUMNS)) for r in rows],
      ),
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


def page(row: dict, seen: flow.Flow, note: str | None) -> str:
  """All that is known of one method."""
  name, facts = row["name"], catalog.stated(row["name"])
  cost = [("FLOPs an image", row["flops"]), ("step time", row["time"])]
  sections = [
    f"# {label(name)}\n\n{escaped(row['paper'])}\n",
    commands(facts),
    f"{escaped(facts.get('remarks', ''))}\n",
    f"## Its mask\n\n{mask(name, note) if note else 'Nothing is masked.'}\n",
    f"## Its data flow\n\n{raw(drawing.svg(seen, f'data flow of {label(name)}'))}\n{READ}",
    f"In words: {{py:func}}`~{catalog.config_of(name).objective.part}`.\n",
    f"## Its cost\n\n{table(('', 'MAE = 1'), cost)}",
    f"{escaped(facts.get('cost', ''))}\n",
    f"## Its numbers\n\nPublished: {escaped(row['published'])}\n",
    f"Ours: {escaped(facts.get('ours', '–'))}\n",
    scores(name),
    f"## What it makes of images\n\n{drawn(name)}",
    f"## Its config, as a difference from MAE\n\n{difference(name)}",
  ]
  return "\n".join(sections)


def mask(name: str, note: str) -> str:
  """The drawing and what it shows."""
  shown = f"```{{image}} masks/{name}.png\n:alt: the mask of {label(name)}\n```"
  return f"{shown}\n\n{escaped(note)} {LEGEND} {CREDIT}"


def drawn(name: str) -> str:
  """The picture of a short run on the digits, and what it shows."""
  lines = PICTURES.read_text().splitlines() if PICTURES.exists() else []
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


def commands(facts: dict) -> str:
  """The commands that the config states, ready to be copied."""
  shown = (facts.get(key, "").replace("\\ ", "") for key in ("run", "laptop"))
  lines = [found[0] for text in shown if (found := COMMAND.search(text))]
  return "```\n" + "\n".join(lines) + "\n```\n"


def scores(name: str) -> str:
  """Our accuracy from the records, with its record's facts."""
  found = [r for r in catalog.records() if r["method"] == name]
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
