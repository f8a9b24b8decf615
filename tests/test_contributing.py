"""CONTRIBUTING.md followed to the letter: its toy method and its toy modality are added, trained and
looked at."""

import importlib
import pathlib
import re
import shutil

import jax
import numpy as np

from mim_jax import config, experiment, run
from mim_jax.train import loop

TEXT = (pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def blocks(title):
  """The Python blocks of a section, un-indented, and the files that the text names before them."""
  section = TEXT.split(f"## {title}")[1].split("\n## ")[0]
  found = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
  return ["\n".join(line.removeprefix("   ") for line in block.splitlines()) for block in found]


def add(monkeypatch, tmp_path, room, name, text):
  """A file in a room, as if it lay there."""
  package = importlib.import_module(f"mim_jax.{room}")
  folder = tmp_path / "mim_jax" / room
  (folder / name).parent.mkdir(parents=True, exist_ok=True)
  (folder / f"{name}.py").write_text(text)
  if str(folder) not in package.__path__:
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])


def offer(monkeypatch, room, line):
  """The line that an __init__ gets: from mim_jax.room.file import thing as thing."""
  _, module, _, name, *_ = line.split()
  thing = getattr(importlib.import_module(module), name)
  monkeypatch.setattr(importlib.import_module(f"mim_jax.{room}"), name, thing, raising=False)


def configs(tmp_path, *files):
  """A folder of configs beside a copy of ours."""
  folder = shutil.copytree(config.folder(), tmp_path / "configs")
  for name, text in files:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
  return folder


def test_a_method_is_added_as_written(tmp_path, monkeypatch):
  part, offered, made = blocks("How to add a method")
  add(monkeypatch, tmp_path, "masks", "checkerboards", part)
  offer(monkeypatch, "masks", offered.strip())
  folder = configs(tmp_path, ("image/checkerboard.py", made))
  c = config.get_config(str(folder / "image" / "checkerboard.py"), "dataset=digits,size=nano")
  assert c.objective.mask.part == "mim_jax.masks.checkerboard"
  c.train.update(dict(steps=8, batch_size=16, log_every=4))
  toy = experiment.build(config.from_json(config.to_json(c)), devices=jax.devices()[:1])
  state, facts = loop.train(toy.trainable, tmp_path / "run")
  assert facts["step"] == 8
  panels = toy.viewer.pictures(state, toy.spec.data.test[np.arange(2)]).panels
  hidden = np.asarray(panels["masked"])[0, ..., 0] == 0
  assert hidden[0:2, 2:4].all()
  assert hidden[2:4, 0:2].all()
  assert not hidden[0:2, 0:2].all() or (np.asarray(panels["original"])[0, 0:2, 0:2] == 0).all()


def test_a_modality_is_added_as_written(tmp_path, monkeypatch):
  """With files alone: it trains, is evaluated, drawn and reported by the rooms as they are."""
  data, tokenizer, record, made = blocks("How to add a modality")
  add(monkeypatch, tmp_path, "data", "tones/__init__", data)
  add(monkeypatch, tmp_path, "tokenizers", "windows", tokenizer)
  add(monkeypatch, tmp_path, "modalities", "tones", record)
  offer(monkeypatch, "tokenizers", "from mim_jax.tokenizers.windows import Windows as Windows")
  folder = configs(tmp_path, ("tones/mae_of_tones.py", made))
  c = config.get_config(str(folder / "tones" / "mae_of_tones.py"), "dataset=embedded,size=nano")
  c.train.update(dict(steps=8, batch_size=16, log_every=4))
  facts = run.run(c, tmp_path / "run")
  assert facts["step"] == 8
  results = run.read_results(tmp_path / "run")
  assert results["evaluations"]["knn"]["results"].keys() == {"pretrained", "random", "plain"}
  assert "failed" not in results["evaluations"]["knn"]
  assert {"original", "masked", "reconstruction"} <= set(results["reconstruction"]["panels"])
  assert (tmp_path / "run" / "reconstructions" / "grid.png").exists()
  assert "tones" not in (pathlib.Path(run.__file__).read_text())
  assert len(list((tmp_path / "run" / "neighbours").glob("*.png"))) > 0


def test_the_rooms_are_those_of_the_import_contract():
  contract = (pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text()
  layers = re.search(r"layers = \[(.*?)\]", contract, re.DOTALL).group(1)
  floors = [re.findall(r"\w+", line) for line in re.findall(r'"(.*?)"', layers)]
  drawn = TEXT.split("## The rooms")[1].split("```")[1]
  lines = [line.split("  ")[0] for line in drawn.strip().splitlines()[1:]]
  assert [re.findall(r"\w+", line) for line in lines] == floors
