"""Records of experiments: a JSON line a run, and tables made of them alone."""

import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def stamp() -> dict:
  """What a number is worth nothing without: command, date, commit, hardware.

  A copy without git, on a cluster say, is told its commit by $COMMIT.
  """
  words = [pathlib.Path(sys.argv[0]).resolve().relative_to(ROOT).as_posix(), *sys.argv[1:]]
  return dict(
    command="python " + " ".join(words),
    date=datetime.date.today().isoformat(),
    commit=os.environ.get("COMMIT") or _commit(),
    hardware=f"{len(os.sched_getaffinity(0))} CPU cores, {platform.machine()}",
  )


def _commit() -> str:
  """Short hash of what is checked out."""
  git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
  found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
  return found or "unknown"


def append(file: pathlib.Path, record: dict) -> None:
  """Adds one JSON line; in a rehearsal ($REHEARSAL is set) nothing is kept.

  file: or a folder with a file a method, so that parallel work never conflicts.
  """
  if os.environ.get("REHEARSAL"):
    return
  if not file.suffix:
    file.mkdir(exist_ok=True)
    file = file / f"{record['method']}.jsonl"
  with file.open("a") as opened:
    opened.write(json.dumps(record) + "\n")


def append_row(file: pathlib.Path, options, row: dict, **more) -> None:
  """Adds a record of one row, so that what is stopped has kept what it measured.

  options: of the command, of which `backend` and `rounds`.
  """
  facts = dict(backend=options.backend, rounds=options.rounds, load=os.getloadavg()[0])
  append(file, stamp() | facts | more | dict(rows=[row]))


def read(file: pathlib.Path) -> list[dict]:
  """All records of a file, or of all files of a folder; none where there is none."""
  if file.is_dir():
    return [record for one in sorted(file.glob("*.jsonl")) for record in read(one)]
  if not file.exists():
    return []
  return [json.loads(line) for line in file.read_text().splitlines()]


def newest(file: pathlib.Path, *keys: str) -> dict[str, tuple[list[dict], str]]:
  """{backend: (rows, when and on what)}: of each case, told apart by `keys`, the row made last."""
  found: dict[str, dict] = {}
  for record in read(file):
    said = f"{record['date']}, commit {record['commit']}, {record['hardware']}"
    said += f"; {record['rounds']} rounds" if "rounds" in record else ""
    for name, version in record.get("versions", {}).items():
      said += f", {name} {version}"
    for row in record["rows"]:
      found.setdefault(record["backend"], {})[tuple(row.get(key, "") for key in keys)] = row, said
  return {
    backend: ([row for row, _ in rows.values()], "\n".join({said: 0 for _, said in rows.values()}))
    for backend, rows in found.items()
  }


def of_run(facts: dict, results: dict, **more) -> dict:
  """A record of a finished run: its evaluations (mean over evaluation seeds) and costs."""
  scores = {
    name: {who: numbers["accuracy"]["mean"] for who, numbers in entry["results"].items()}
    for name, entry in results["evaluations"].items()
  }
  seconds, said, device = results["cost"]["seconds"], stamp(), results["hardware"]
  if device["kind"] != "cpu":
    said["hardware"] = f"{device['devices']} x {device['kind']}, {said['hardware']}"
  return dict(
    **said,
    **more,
    seed=results["seed"],
    step=results["step"],
    scores=scores,
    images_per_second=results["cost"]["samples_per_second"],
    flops_per_image=results["cost"]["flops_per_sample"],
    seconds=dict(train=seconds["train"], compile=seconds["compile"], evaluate=seconds["evaluate"]),
    versions=results["versions"],
  )


def spread(values: list[float]) -> str:
  """'93.1 ± 0.4': mean and sample deviation in per cent."""
  mean = f"{100 * statistics.fmean(values):.1f}"
  return mean + (f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else "")


def markdown(header: list[str], rows: list[list[str]]) -> str:
  """A Markdown table."""
  lines = [header, ["---"] * len(header), *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def place(file: pathlib.Path, mark: str, text: str) -> None:
  """Puts `text` between <!-- mark --> and <!-- /mark --> of a Markdown file."""
  before, rest = file.read_text().split(f"<!-- {mark} -->\n")
  _, after = rest.split(f"<!-- /{mark} -->")
  file.write_text(f"{before}<!-- {mark} -->\n{text}\n<!-- /{mark} -->{after}")
