"""Runs beside each other: who belongs together, what is said of spread, and what cannot be compared."""

import json

import numpy as np
import pytest

from mim_jax import errors
from mim_jax.cli import main as cli
from mim_jax.report import comparison, curves, runs
from tests.report.test_report import HOSTILE, Page


def a_run(folder, seed=0, ratio=0.75, accuracy=0.9, k=20, scale=1.0, steps=40, batch=16, data="9f"):
  folder.mkdir(parents=True)
  config = dict(
    seed=seed, objective=dict(part="x.y", mask=dict(ratio=ratio)), train=dict(batch_size=batch)
  )
  number = dict(mean=accuracy, spread=0.5, values=[accuracy])
  entry = dict(protocol=dict(k=k), results=dict(pretrained=dict(accuracy=number)))
  results = dict(
    evaluations=dict(knn=entry), dataset=dict(fingerprint=data), cost=dict(images_per_second=100.0)
  )
  lines = [dict(step=i, loss=scale / i, learning_rate=1e-3) for i in range(1, steps + 1)]
  (folder / "config.json").write_text(json.dumps(config))
  (folder / "results.json").write_text(json.dumps(results))
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  return folder


@pytest.fixture
def three(tmp_path):
  """Two seeds of one config, and another config."""
  return [
    a_run(tmp_path / "mae_0", 0, accuracy=0.90),
    a_run(tmp_path / "mae_1", 1, accuracy=0.94, scale=2.0),
    a_run(tmp_path / "half", 0, ratio=0.5, accuracy=0.91),
  ]


def test_runs_that_differ_in_the_seed_alone_are_one_group_with_a_spread(three):
  groups = runs.read(three)
  assert [[run.name for run in group.runs] for group in groups] == [["mae_0", "mae_1"], ["half"]]
  assert [group.name for group in groups] == ["mae × 2", "half"]
  columns, rows = comparison.table(groups)
  column = columns.index(("knn", "accuracy"))
  both, alone = (row.cells[column] for row in rows)
  assert both.text == "92.0 ± 2.8 %"  # of 90 and 94, not the 0.5 of the evaluation's seeds
  assert alone.text == "91.0 %"
  assert [both.best, alone.best] == [True, False]
  assert [row.seeds for row in rows] == ["0, 1", "0"]


def test_a_seed_that_comes_again_is_not_counted_as_spread(tmp_path):
  again = [a_run(tmp_path / name, 3) for name in ("one", "two")]
  assert [group.name for group in runs.read(again)] == ["one", "two"]
  assert comparison.differences(runs.read(again)) == []
  assert "The configs are equal." in comparison.text(runs.read(again))


def test_settings_that_only_one_of_two_parts_has_go_without_saying(tmp_path):
  folders = [a_run(tmp_path / name) for name in ("one", "two")]
  for i, folder in enumerate(folders):
    mask = [dict(part="random", ratio=0.75, shared=1), dict(part="blocks", count=4, shared=2)][i]
    (folder / "config.json").write_text(json.dumps(dict(seed=0, mask=mask, more=[None, i])))
  found = dict(comparison.differences(runs.read(folders)))
  assert found == {
    "mask.part": ["random", "blocks"], "mask.shared": ["1", "2"], "more": ["[none, 0]", "[none, 1]"]
  }  # fmt: skip


def test_only_what_differs_is_shown(three):
  assert comparison.differences(runs.read(three)) == [("objective.mask.ratio", ["0.75", "0.5"])]


@pytest.mark.parametrize(
  ("names", "said"),
  [
    (["mae_s0", "mae_s1"], "mae × 2"), (["mae-seed=10", "mae-seed=11"], "mae × 2"),
    (["losses1", "losses2"], "losses × 2"), (["seed0", "seed1"], "seed0 and 1 more"),
    (["one", "two", "three"], "one and 2 more"),
  ],
)  # fmt: skip
def test_a_group_is_called_what_its_runs_have_in_common(tmp_path, names, said):
  folders = [a_run(tmp_path / name, seed) for seed, name in enumerate(names)]
  (group,) = runs.read(folders)
  assert group.name == said


def test_names_are_as_long_as_they_must_be(tmp_path):
  folders = [a_run(tmp_path / name / "run", ratio=i / 4) for i, name in enumerate("ab")]
  assert [group.name for group in runs.read(folders)] == ["a/run", "b/run"]


@pytest.mark.parametrize(
  ("other", "said"),
  [
    (dict(k=10), "knn was not measured alike: k (20 | 10)."),
    (dict(data="77"), "trained on different samples"),
    (dict(ratio=0.5), "heights of their losses can't be compared"),
    (dict(steps=30), "not equally long"),
  ],
)
def test_what_makes_a_comparison_unfair_is_said(tmp_path, other, said):
  folders = [a_run(tmp_path / "one"), a_run(tmp_path / "two", seed=1, **other)]
  assert said in comparison.text(runs.read(folders))
  plain = [a_run(tmp_path / "three"), a_run(tmp_path / "four", seed=1)]
  assert said not in comparison.text(runs.read(plain))


def test_a_line_is_the_mean_and_a_band_the_spread_at_the_steps_all_have():
  series = [([1, 2, 3], [1.0, 2.0, 3.0]), ([1, 3], [3.0, 7.0])]
  steps, low, high = curves.over_runs(series, smooth=False)
  np.testing.assert_array_equal(steps, [1, 3])
  np.testing.assert_allclose((low + high) / 2, [2.0, 5.0])
  np.testing.assert_allclose((high - low) / 2, np.sqrt([2.0, 8.0]))


def test_runs_with_other_batches_are_drawn_over_images(three, tmp_path):
  charts = comparison.charts(runs.read(three))
  assert {chart.unit for chart in charts} == {"step"}
  loss = charts[0]
  assert [(label, bool(band)) for label, _, _, band in loss.lines] == [
    ("mae × 2", True),
    ("half", False),
  ]
  large = a_run(tmp_path / "large", batch=32)
  charts = comparison.charts(runs.read([three[0], large]))
  assert {chart.unit for chart in charts} == {"sample"}
  assert charts[0].touch[-1][3] == "sample 1,280"


def test_the_page_needs_nothing_else_and_runs_nothing(three, tmp_path):
  (three[0] / "config.json").write_text(json.dumps(dict(seed=0, method=HOSTILE)))
  out = comparison.write(runs.read(three), tmp_path / "compare.html")
  text = out.read_text()
  page = Page(text)
  assert page.text.count(HOSTILE) == 1
  assert not {"script", "link", "img", "iframe"} & set(page.tags)
  assert "url(" not in text and "nan" not in page.text.lower()
  assert page.ids >= {"results", "differences", "curves"}


def test_a_run_under_way_has_curves_and_no_results_yet(three):
  (three[2] / "results.json").unlink()
  text = comparison.text(runs.read(three))
  assert "Without evaluations: half." in text
  assert "–" in text


def test_the_command_prints_tables_and_names_the_file(three, tmp_path, capsys):
  out = tmp_path / "compare.html"
  assert cli.main(["compare", *map(str, three), f"--out={out}"]) == 0
  shown = capsys.readouterr().out
  for text in ("knn accuracy", "92.0 ± 2.8 %", "objective.mask.ratio  0.75", f"written:\n  {out}"):
    assert text in shown, text
  assert out.exists()


def test_refusals(three, tmp_path, capsys):
  def refused(*words):
    assert cli.main(["compare", *map(str, words)]) == 2
    return capsys.readouterr().err

  assert "1 run folder given; give two or more" in refused(three[0])
  assert "did you mean" in refused(three[0], tmp_path / "mae_7")
  assert "no run folder" in refused(three[0], tmp_path / "mae_7")
  assert "is given twice" in refused(three[0], tmp_path / "half" / ".." / "mae_0")
  empty = tmp_path / "empty"
  empty.mkdir()
  assert "has no config.json" in refused(three[0], empty)
  (empty / "config.json").write_text("{}")
  assert "neither metrics nor results yet" in refused(three[0], empty)
  (empty / "results.json").write_text("{")
  assert "not JSON" in refused(three[0], empty)
  assert "no folder" in refused(three[0], three[1], f"--out={tmp_path / 'nowhere' / 'x.html'}")
  with pytest.raises(errors.InputError, match="0 run folder given"):
    runs.read([])
