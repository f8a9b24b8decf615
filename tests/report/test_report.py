"""The report: one file, all in it, nothing in it that runs, whatever the run folder holds."""

import html.parser
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mim_jax import errors
from mim_jax.pictures import grid, values
from mim_jax.report import curves, report, runs
from tests.pictures import scene

HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>{{7*7}}"
SECTIONS = {"cost", "evaluations", "curves", "reconstructions", "config", "surroundings"}
VOID = {"meta", "img", "br", "link", "input"}


class Page(html.parser.HTMLParser):
  """Collects what a browser would make of a page; unbalanced tags fail."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.attributes, self.ids, self.text, self.open = [], [], set(), "", []
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += [(tag, *pair) for pair in attrs]
    self.ids |= {value for key, value in attrs if key == "id"}
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != "style":
      self.text += data


def check(path):
  """The page, held to what every report promises."""
  text = path.read_text(encoding="utf-8")
  page = Page(text)
  assert page.ids >= SECTIONS
  assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
  for tag, key, value in page.attributes:
    assert not key.startswith("on"), (tag, key)
    if key in ("src", "href", "srcset", "action", "data", "xlink:href"):
      assert value.startswith("data:image/png;base64,"), (tag, key, value[:80])
  style = text[text.index("<style>") : text.index("</style>")]
  assert not any(word in style for word in ("url(", "@import"))
  return page


def number(mean, spread=0.01):
  return {"accuracy": {"mean": mean, "spread": spread, "values": [mean, mean]}}


def results():
  best, worse = number(0.931), number(0.8, None)
  return {
    "step": 1200,
    "evaluations": {
      "knn": {
        "protocol": {"k": 20, "temperature": 0.07},
        "results": {"pretrained": best, "random": worse},
      },
      "linear": {"protocol": {}, "results": {}, "skipped": "needs labels"},
      "odd": {"protocol": {}, "results": {"random": number(float("nan"))}, "failed": HOSTILE},
    },
    "cost": {
      "images_per_second": 8012.3,
      "flops_per_image": 5.23e9,
      "flops_per_image_formula": None,
      "parameters": {"encoder": 5_530_000, "predictor": 101_000},
      "seconds": {"train": 200.4, "evaluate": 3.2},
    },
    "hardware": {"kind": HOSTILE, "devices": 1},
    "versions": {"jax": "0.10.2"},
    "seed": 7,
    "dataset": {"train": 1437, "test": 360, "fingerprint": "9f2c"},
    "reconstruction": {"panels": ["original"], "note": values.note(True)},
  }


def whole(folder, text="plain"):
  panel = np.random.default_rng(0).random((2, 8, 8, 1))
  panels = dict.fromkeys(("original", "masked", "reconstruction"), panel)
  grid.save(folder, grid.Pictures(panels), scene.on_scale)
  config = {
    "method": text,
    "objective": {
      "part": "mim_jax.objectives.predict_masked",
      "mask": {"ratio": 0.75, text: [text, None]},
    },
    "data": {"train": {"part": "mim_jax.data.image.sources.digits"}},
  }
  (folder / "config.json").write_text(json.dumps(config))
  (folder / "results.json").write_text(json.dumps(results()))
  lines = [{"step": i, "loss": 1 / (i + 1), "learning_rate": 1e-3, text: 2.0} for i in range(40)]
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  return folder


def test_whole_report(tmp_path):
  path = report.report(whole(tmp_path))
  page = check(path)
  assert path == tmp_path / "report.html"
  for text in (
    "plain on digits", "step 1,200", "seed 7", "8.01 k", "5.23 GFLOP", "5.53 M", "3 min 20 s",
    "93.1 ± 1.0 %", "80.0 %", "skipped: needs labels", "k 20, temperature 0.07", "9f2c", "0.10.2",
    "learning rate", values.note(True), "mim_jax.objectives.predict_masked",
  ):  # fmt: skip
    assert text in page.text, text
  assert sum(key == "src" for _, key, _ in page.attributes) == 2
  best = [value for _, key, value in page.attributes if key == "class" and "best" in (value or "")]
  assert best == ["value best", "best"]
  assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.name) == []


def test_what_the_encoder_sees_is_shown_and_what_is_missing_is_said(tmp_path):
  whole(tmp_path)
  panels = {name: np.zeros((2, 8, 8, 1)) for name in ("original", "features", "attention")}
  seen = grid.Pictures(panels, "like colours mean likeness")
  found = results()
  found["features"] = grid.save(tmp_path, seen, scene.on_scale, name="features")
  grid.save(tmp_path, seen, scene.on_scale, name="neighbours")
  layers = dict(known=90, asked=30, k=20, accuracy=[0.5, 0.75])
  found["neighbours"] = dict(
    among=100, said=["3 · so are 4 of 7 neighbours", HOSTILE], by_layer=layers
  )
  found["held_out"] = dict(test=0.5934, train=0.6003, images=256)
  (tmp_path / "results.json").write_text(json.dumps(found))
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 0, "eval/knn_accuracy": 0.5}\n{"step": 30, "eval/knn_accuracy": 0.875}\n')
  page = check(report.report(tmp_path))
  for text in (
    "likeness", "attention", "so are 4 of 7", HOSTILE, "kNN accuracy by layer, 30 samples among 90",
    "knn accuracy, while training", "last 0.875", "0.5934", "on 256 test samples; 0.6003 on",
  ):  # fmt: skip
    assert text in page.text, text
  assert page.tags.count("img") == 6
  assert "eval/" not in page.text  # it has a chart of its own, not one among those of each step
  (tmp_path / "results.json").write_text(json.dumps({"missing": {"features": "on no grid"}}))
  page = check(report.report(tmp_path))
  assert "No pictures of features: on no grid" in page.text
  assert page.tags.count("img") == 2


def test_same_files_same_report(tmp_path):
  first = report.report(whole(tmp_path)).read_bytes()
  assert report.report(tmp_path).read_bytes() == first


def test_hostile_text_stays_text(tmp_path):
  page = check(report.report(whole(tmp_path, HOSTILE)))
  assert page.text.count(HOSTILE) >= 5  # title twice, chart, config, failure, hardware
  assert page.tags.count("img") == 2


def test_an_empty_folder(tmp_path):
  page = check(report.report(tmp_path))
  for text in (
    "A run",
    "No evaluations yet",
    "No metrics yet",
    "No pictures",
    "config.json is missing",
  ):
    assert text in page.text, text


@pytest.mark.parametrize(
  "missing", ["config.json", "results.json", "metrics.jsonl", "reconstructions"]
)
def test_any_piece_may_be_missing(tmp_path, missing):
  whole(tmp_path).joinpath(missing).rename(tmp_path / "away")
  check(report.report(tmp_path))


def test_pictures_without_a_record_are_not_believed(tmp_path):
  (whole(tmp_path) / "results.json").unlink()
  assert "It is not recorded whether" in check(report.report(tmp_path)).text


@pytest.mark.parametrize(
  "text",
  [
    '{"step": 1, "loss": 0.5}\n',
    '{"step": 1, "loss": NaN}\n',
    '{"step": 1, "loss": NaN, "norm": Infinity}\n{"step": 2, "loss": 1.0}\n{"step": 3, "lo',
    '{"step": 5, "loss": 0}\n{"step": 5, "loss": -1e30}\nnull\n[]\n{"loss": 3}\n',
    "\n",
  ],
)
def test_odd_metrics(tmp_path, text):
  (tmp_path / "metrics.jsonl").write_text(text)
  page = check(report.report(tmp_path))
  assert "nan" not in page.text.lower()
  numbers = [v for _, k, v in page.attributes if k in ("d", "x", "y", "x1", "y1", "cx", "cy")]
  assert not any("nan" in value or "inf" in value for value in numbers)


def test_sparse_results(tmp_path):
  for given in (
    {},
    {"cost": None, "evaluations": {"knn": {}}},
    {"cost": {"seconds": {"train": None}}},
  ):
    (tmp_path / "results.json").write_text(json.dumps(given))
    check(report.report(tmp_path))


def test_resumed_runs_count_a_step_once(tmp_path):
  lines = [{"step": 2, "loss": 1}, {"step": 4, "loss": 2}, {"step": 2, "loss": 3}]
  (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
  assert runs.read_metrics(tmp_path / "metrics.jsonl") == [lines[2], lines[1]]


def test_refuses(tmp_path):
  with pytest.raises(errors.InputError, match="no run folder"):
    report.report(tmp_path / "nowhere")
  (tmp_path / "results.json").write_text("{")
  with pytest.raises(errors.InputError, match=r"results\.json: not JSON"):
    report.report(tmp_path)


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (1234, "1,234"), (0.41234, "0.4123"), (0.5, "0.5"), (1.5e-4, "1.5e-4"), (-2.0, "-2"),
    (100.0, "100"),     (123.456, "123.5"), (12345.6, "12,346"), (None, "–"), (math.nan, "–"),
    (True, "–"), ("x", "–"), (0, "0"),
  ],
)  # fmt: skip
def test_number(value, text):
  assert curves.number(value) == text


def test_words_for_sizes_and_times():
  assert [curves.scaled(v) for v in (999, 1000, 5_530_000, 0.5, None)] == [
    "999",
    "1 k",
    "5.53 M",
    "0.5",
    "–",
  ]
  assert curves.scaled(1.247e11, "FLOP") == "125 GFLOP"
  assert [curves.duration(s) for s in (0.42, 59.2, 200, 7500, None)] == [
    "0.42 s", "59 s", "3 min 20 s", "2 h 5 min", "–",
  ]  # fmt: skip


def test_smoothing_neither_lags_nor_spreads_nan():
  fall = np.linspace(5, 1, 200)
  fall[100] = np.nan
  line = curves.smoothed(fall)
  np.testing.assert_allclose(line[:90], fall[:90], rtol=1e-6)
  assert np.isfinite(line).all()


@pytest.mark.parametrize(
  ("modules", "heavy"),
  [
    ("cli.main evaluate report.report pictures.grid evaluate.runner", "PIL grain"),
    ("evaluate.frozen.neighbours evaluate.frozen.logistic pictures evaluate.trained", ""),
  ],
)
def test_the_command_line_starts_without_the_heavy_libraries(modules, heavy):
  never = ["sklearn", "matplotlib", "jinja2", *heavy.split()]
  code = (
    f"import sys, {', '.join(f'mim_jax.{module}' for module in modules.split())}\n"
    f"print([m for m in {never} if m in sys.modules])"
  )
  root = pathlib.Path(report.__file__).parents[2]
  found = subprocess.run(
    [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
  )
  assert found.stdout.strip() == "[]"
