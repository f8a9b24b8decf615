"""The commands as a user types them, in a short form of the README's."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from mim_jax import config as config_lib
from mim_jax.cli import main as cli

ROOT = pathlib.Path(__file__).parents[2]
SHORT = ["--config.train.steps=6", "--config.train.batch_size=16", "--config.train.log_every=2"]
SPEC = "--config=configs/mae.py:dataset=digits,size=nano"


def run(*words, cwd=ROOT):
  command = [sys.executable, "-m", "mim_jax", *words]
  return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """The README's command, shortened, run from another folder: (run folder, what it printed)."""
  elsewhere = tmp_path_factory.mktemp("elsewhere")
  done = run("train", SPEC, "--workdir=run", *SHORT, cwd=elsewhere)
  assert done.returncode == 0, done.stderr
  return elsewhere / "run", done


def copy(trained, tmp_path):
  return shutil.copytree(trained[0], tmp_path / "run")


def test_train_fills_the_run_folder_and_names_the_files(trained):
  folder, done = trained
  for name in (
    "config.json",
    "metrics.jsonl",
    "results.json",
    "report.html",
    "weights.safetensors",
  ):
    assert (folder / name).stat().st_size > 0
    assert f"run/{name}" in done.stdout
  assert not list(folder.glob("events.out.tfevents.*"))  # off unless asked for
  assert (folder / "checkpoints" / "6").is_dir()
  assert (folder / "reconstructions" / "grid.png").exists()
  assert re.search(r"step 6/6  loss \d+\.\d+  [\d,]+ samples/s  00:00 left", done.stderr)
  assert "Warning" not in done.stderr
  assert re.search(r"\npretrained +\d+\.\d ± .*\nrandom +.*\npixels +", done.stdout)


def test_results_hold_every_comparison_with_its_protocol(trained):
  results = json.loads((trained[0] / "results.json").read_text())
  assert set(results["evaluations"]) == {"knn", "linear", "linear_10"}
  for entry in results["evaluations"].values():
    assert set(entry["results"]) == {"pretrained", "random", "pixels"}
    assert entry["protocol"]["seeds"] == [0, 1, 2]
    for numbers in entry["results"].values():
      assert len(numbers["accuracy"]["values"]) == 3
      assert 0 <= numbers["accuracy"]["mean"] <= 1
  assert results["evaluations"]["linear_10"]["protocol"]["per_class"] == 10
  assert results["cost"]["flops_per_sample"] > 0
  assert results["dataset"]["train"] == 1438
  assert results["step"] == 6


def test_the_report_shows_the_run(trained):
  text = (trained[0] / "report.html").read_text()
  for word in (
    "pretrained",
    "random",
    "pixels",
    "per second",
    "FLOP",
    "objective",
    "data:image/png;base64",
  ):
    assert word in text, word
  assert not re.search(r'(src|href)="https?:', text)


def test_train_again_finds_nothing_left_to_do(trained, tmp_path, capsys):
  folder = copy(trained, tmp_path)
  before = (folder / "metrics.jsonl").read_bytes()
  assert cli.main(["train", SPEC, f"--workdir={folder}", *SHORT]) == 0
  assert (folder / "metrics.jsonl").read_bytes() == before


def test_evaluate_runs_the_evaluations_asked_for(trained, tmp_path, capsys):
  folder = copy(trained, tmp_path)
  (folder / "results.json").unlink()
  assert cli.main(["evaluate", f"--workdir={folder}", "--evals=knn"]) == 0
  shown = capsys.readouterr().out
  assert re.search(r"knn accuracy\npretrained +\d", shown)
  assert set(json.loads((folder / "results.json").read_text())["evaluations"]) == {"knn"}
  assert cli.main(["evaluate", f"--workdir={folder}", "--evals=kmn"]) == 2
  assert "'kmn' is unknown; did you mean 'knn'" in capsys.readouterr().err


def test_evaluate_takes_any_name_settings_and_weights(trained, tmp_path, capsys):
  folder = copy(trained, tmp_path)
  before = (folder / "config.json").read_bytes()
  words = ["--evals=meters", "--config.evaluations.meters.clusters=3"]
  assert cli.main(["evaluate", f"--workdir={folder}", *words]) == 0
  assert "meters rank_me" in capsys.readouterr().out
  found = json.loads((folder / "results.json").read_text())["evaluations"]
  assert found["meters"]["protocol"]["clusters"] == 3
  assert set(found) == {"knn", "linear", "linear_10", "meters"}
  assert (folder / "config.json").read_bytes() == before
  assert list((folder / "cache").glob("*.safetensors"))

  weights, out = folder / "weights.safetensors", tmp_path / "out"
  words = [f"--weights={weights}", "--evals=knn", f"--workdir={out}"]
  assert cli.main(["evaluate", *words]) == 0
  assert str(weights) in capsys.readouterr().out
  alone = json.loads((out / "results.json").read_text())
  assert len(alone["source"]["sha256"]) == 64
  assert (
    alone["evaluations"]["knn"]["results"]["pretrained"] == (found["knn"]["results"]["pretrained"])
  )
  assert cli.main(["evaluate", "--list"]) == 0
  assert "attentive" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("words", "match"),
  [
    ([], "give --workdir=RUN, or --weights=PATH"),
    (["--workdir=x", "--config=mae"], "give --workdir=RUN, or --weights=PATH"),
    (["--weights=missing"], "there is no such file"),
  ],
)
def test_evaluate_says_what_is_missing(words, match, capsys):
  assert cli.main(["evaluate", *words]) == 2
  assert match in capsys.readouterr().err


def test_evaluate_overrides_evaluations_only(trained, capsys):
  words = [f"--workdir={trained[0]}", "--evals=knn"]
  assert cli.main(["evaluate", *words, "--config.train.steps=3"]) == 2
  assert "Settings of evaluations look like" in capsys.readouterr().err
  assert cli.main(["evaluate", *words, "--config.evaluations.knn.kk=3"]) == 2
  assert "did you mean 'evaluations.knn.k'" in capsys.readouterr().err


def test_reconstruct_draws_own_images(trained, tmp_path, capsys):
  images, out = tmp_path / "photos", tmp_path / "drawn.png"
  images.mkdir()
  for i in range(3):
    Image.linear_gradient("L").resize((20 + i, 11)).save(images / f"{i}.png")
  words = ["reconstruct", f"--workdir={trained[0]}", f"--images={images}", f"--out={out}"]
  assert cli.main(words) == 0
  assert str(out) in capsys.readouterr().out
  with Image.open(out) as picture:
    assert picture.height > 3 * 160
  assert cli.main(["reconstruct", f"--workdir={tmp_path}", f"--out={out}"]) == 2
  assert "no config.json here" in capsys.readouterr().err


def test_methods_lists_every_config(capsys):
  assert cli.main(["methods"]) == 0
  shown = capsys.readouterr().out
  assert "Masked Autoencoders Are Scalable Vision Learners" in shown
  assert all(re.search(rf"^{name} ", shown, re.MULTILINE) for name in config_lib.names())


def test_doctor_says_what_is_here(capsys):
  assert cli.main(["doctor"]) == 0
  shown = capsys.readouterr().out
  assert "jax 0." in shown
  assert "digits: embedded" in shown
  assert "all is well" in shown


def test_mistakes_end_with_one_message_and_code_2(capsys, tmp_path):
  assert cli.main(["trian"]) == 2
  assert "'trian' is unknown; did you mean 'train'" in capsys.readouterr().err
  workdir = f"--workdir={tmp_path / 'run'}"
  assert cli.main(["train", "--config=mae:dataset=folder,path=/no/such/place", workdir]) == 2
  assert "no folder '/no/such/place'" in capsys.readouterr().err
  wrong = ["train", SPEC, workdir, "--config.patch=3"]
  assert cli.main(wrong) == 2
  assert "a side of 8 is not a whole number of patches of 3" in capsys.readouterr().err
  assert cli.main(["train", SPEC, workdir, "--config.objective.mask.ratio=0.99"]) == 2
  assert "leaves 0 of 16 tokens visible" in capsys.readouterr().err
  assert cli.main(["train", SPEC, workdir, "--config.train.batch_size=2000"]) == 2
  assert "1438" in capsys.readouterr().err
