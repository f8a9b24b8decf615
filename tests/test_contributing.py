"""CONTRIBUTING.md followed to the letter: its toy method is added, trained and held to a promise or
two."""

import pathlib
import re

import jax
import numpy as np

import mim_jax.masks
from mim_jax import config, experiment
from mim_jax.train import loop

TEXT = (pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def blocks():
  """The Python blocks of "How to add a method", un-indented."""
  section = TEXT.split("## How to add a method")[1].split("\n## ")[0]
  found = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
  return ["\n".join(line.removeprefix("   ") for line in block.splitlines()) for block in found]


def test_the_steps_work_as_written(tmp_path, monkeypatch):
  part, made = blocks()
  (tmp_path / "checkerboard.py").write_text(part)
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "checkerboard.py").write_text(made)
  monkeypatch.setattr(mim_jax.masks, "__path__", [*mim_jax.masks.__path__, str(tmp_path)])
  c = config.get_config(str(tmp_path / "configs" / "checkerboard.py"), "dataset=digits,size=nano")
  c.train.update(dict(steps=8, batch_size=16, log_every=4))
  toy = experiment.build(config.from_json(config.to_json(c)), devices=jax.devices()[:1])
  state, facts = loop.train(toy.trainable, tmp_path / "run")
  assert facts["step"] == 8
  panels = toy.viewer.pictures(state, toy.spec.data.test[np.arange(2)]).panels
  hidden = np.asarray(panels["masked"])[0, ..., 0] == 0
  assert hidden[0:2, 2:4].all()
  assert hidden[2:4, 0:2].all()
  assert not hidden[0:2, 0:2].all() or (np.asarray(panels["original"])[0, 0:2, 0:2] == 0).all()


def test_the_rooms_are_those_of_the_import_contract():
  contract = (pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text()
  layers = re.search(r"layers = \[(.*?)\]", contract, re.DOTALL).group(1)
  floors = [re.findall(r"\w+", line) for line in re.findall(r'"(.*?)"', layers)]
  drawn = TEXT.split("## The rooms")[1].split("```")[1]
  lines = [line.split("  ")[0] for line in drawn.strip().splitlines()[1:]]
  assert [re.findall(r"\w+", line) for line in lines] == floors
